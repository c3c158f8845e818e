"""Threads of conversation: clients that keep their history, run their tools once, and try again when a turn fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

from tests.support.continuity.gateway import Exchange, LocalGateway
from tests.support.simulator.prompts import JsonObject

Kind = Literal["codex_http", "codex_socket", "sdk_json", "sdk_stream"]
WAY_S = 0.002  # from a client to a gateway
NATIVE, PUBLIC = "/backend-api/codex/responses", "/v1/responses"


@dataclass
class Heard:
    """What a client was given for one request."""

    status: int = 0
    items: list[JsonObject] = field(default_factory=list)  # whole output items
    response_ids: list[str] = field(default_factory=list)
    is_completed: bool = False
    is_shown: bool = False  # a part of an answer
    failure: str = ""  # a code, where it was told one
    was_not_healed: bool = False  # it continued an answer, was shown nothing, and not told to start over
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class Client(Protocol):
    """How a thread speaks to a gateway."""

    async def ask(self, gateway: LocalGateway, body: JsonObject) -> Heard:
        """One turn with the whole history."""
        ...

    def hang_up(self) -> None:
        """Leaves."""
        ...


class HttpClient:
    """Events of a stream, or one object."""

    def __init__(self, path: str, headers: list[tuple[bytes, bytes]], *, keeps_turn_state: bool = False) -> None:
        self._keeps_turn_state = keeps_turn_state
        self._turn_state: list[tuple[bytes, bytes]] = []
        self._path = path
        self._headers = headers
        self._exchange: Exchange | None = None

    async def ask(self, gateway: LocalGateway, body: JsonObject) -> Heard:
        await asyncio.sleep(WAY_S)
        exchange = self._exchange = gateway.post(
            self._path, msgspec.json.encode(body), [*self._headers, *self._turn_state]
        )
        heard, data, is_whole = Heard(), bytearray(), False
        while (message := await exchange.hear()) is not None:
            if message["type"] == "http.response.start":
                heard.status, heard.headers = message["status"], message["headers"]
                continue
            data += message["body"]
            is_whole = not message["more_body"]
        if self._keeps_turn_state:  # Codex gives it back until its next question; the longer, the harder
            given = [header for header in heard.headers if header[0] == b"x-codex-turn-state"]
            self._turn_state = given or self._turn_state
        if heard.status != 200:
            heard.failure = _code_of(bytes(data)) if heard.status else "gone"
            return heard
        if body.get("stream"):
            for event in _events(bytes(data)):
                _take(heard, event)
        elif is_whole:
            _take(heard, {"type": "response.completed", "response": msgspec.json.decode(bytes(data))})
        if not heard.is_completed:
            heard.failure = heard.failure or "broke_off"
        return heard

    def hang_up(self) -> None:
        """Leaves."""
        if self._exchange is not None:
            self._exchange.hang_up("http")


class SocketClient:
    """Codex over a WebSocket: only what is new while its connection lives, everything when it is told to start over."""

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._headers = headers
        self._exchange: Exchange | None = None
        self._gateway: LocalGateway | None = None
        self._last_id = ""
        self._sent: list[JsonObject] = []
        self.healed = 0

    async def ask(self, gateway: LocalGateway, body: JsonObject) -> Heard:
        await asyncio.sleep(WAY_S)
        items = list(_list(body["input"]))
        exchange = await self._connection(gateway)
        known = [*self._sent]
        if self._last_id and items[: len(known)] == known:
            heard = await self._turn(
                exchange, {**body, "previous_response_id": self._last_id, "input": items[len(known) :]}
            )
            if heard.failure != "previous_response_not_found":
                heard.was_not_healed = not heard.is_shown and heard.failure not in ("", "broke_off")
                return self._kept(heard, items)
            self.healed += 1  # silently, as Codex does
            exchange = await self._connection(gateway)
        return self._kept(await self._turn(exchange, body), items)

    def hang_up(self) -> None:
        """Leaves."""
        if self._exchange is not None:
            self._exchange.hang_up("websocket")
            self._exchange = None

    def _kept(self, heard: Heard, items: list[JsonObject]) -> Heard:
        self._last_id = heard.response_ids[-1] if heard.is_completed else ""
        self._sent = [*items, *heard.items] if heard.is_completed else []
        return heard

    async def _connection(self, gateway: LocalGateway) -> Exchange:
        if self._exchange is None or self._exchange.is_over or self._gateway is not gateway:
            self.hang_up()
            self._exchange, self._gateway = gateway.connect(self._headers), gateway
            self._last_id, self._sent = "", []
            await self._exchange.hear()  # accept
        return self._exchange

    async def _turn(self, exchange: Exchange, body: JsonObject) -> Heard:
        heard = Heard(status=200)
        exchange.say({"type": "response.create", **{k: v for k, v in body.items() if k != "stream"}})
        while (message := await exchange.hear()) is not None:
            if message["type"] != "websocket.send":
                exchange.is_over = True
                break
            _take(heard, msgspec.json.decode(message["text"]))
            if heard.is_completed or heard.failure:
                return heard
        heard.failure = heard.failure or "broke_off"
        return heard


def client_of(kind: Kind, session_id: str) -> Client:
    """A client of that kind; an empty session id is none."""
    headers = [(b"session-id", session_id.encode())] if session_id else []
    match kind:
        case "codex_http":
            return HttpClient(NATIVE, headers, keeps_turn_state=True)
        case "codex_socket":
            return SocketClient(headers)
        case "sdk_json" | "sdk_stream":
            return HttpClient(PUBLIC, headers)


def _take(heard: Heard, event: JsonObject) -> None:
    response = event.get("response")
    said = response if isinstance(response, dict) else {}
    if event["type"] in ("response.created", "response.completed") and said.get("id"):
        heard.response_ids.append(str(said["id"]))
    heard.is_shown = heard.is_shown or "output" in str(event["type"])
    match event["type"]:
        case "response.output_item.done":
            item = event["item"]
            assert isinstance(item, dict)
            heard.items.append(item)
        case "response.completed":
            heard.is_completed = True
            heard.items = heard.items or _list(said.get("output"))
        case "response.failed":
            error = said.get("error")
            heard.failure = str(error.get("code")) if isinstance(error, dict) else "failed"
        case "error":
            error = event.get("error")
            heard.failure = str(error.get("code")) if isinstance(error, dict) else "error"
        case _:
            pass


def _events(data: bytes) -> Sequence[JsonObject]:
    lines = (line[6:] for line in data.split(b"\n") if line.startswith(b"data: "))
    return [msgspec.json.decode(line) for line in lines if line != b"[DONE]"]


def _code_of(data: bytes) -> str:
    try:
        error = msgspec.json.decode(data)["error"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return "unreadable"
    return str(error.get("code"))


def _list(value: object) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
