"""GET /backend-api/codex/responses as a WebSocket: many turns on one connection, one after another."""

import asyncio
from typing import Final

import msgspec
from aiohttp import WSMessage, WSMsgType, web

from tests.support.simulator import faults
from tests.support.simulator.accounts import Account
from tests.support.simulator.answers import Event
from tests.support.simulator.bodies import decode
from tests.support.simulator.journal import Journal, Recording
from tests.support.simulator.prompts import JsonObject
from tests.support.simulator.reception import ConnectionCutError, Reception, connection_of
from tests.support.simulator.responses import answer_headers, check_turn_state, event_of
from tests.support.simulator.turn import Turns

_MESSAGE_BYTES_MAX: Final = 16 * 2**20  # upstream's own bound
_PING_EVERY_S: Final = 20.0
_FRAMES_MAX: Final = 64  # a client that sends more without reading answers is lost anyway


class Sockets:
    """The Responses endpoint over WebSockets."""

    def __init__(self, reception: Reception, turns: Turns, journal: Journal) -> None:
        self._reception = reception
        self._turns = turns
        self._journal = journal

    async def open(self, request: web.Request, recording: Recording) -> web.StreamResponse:
        """The handshake, then every frame until the caller goes."""
        if request.headers.get("upgrade", "").lower() != "websocket":
            raise faults.RefusedError(faults.detail("Method Not Allowed", 405))
        account = self._reception.account(request, recording)
        check_turn_state(request, recording, account)
        await self._reception.play(self._reception.step(recording, account), account)
        ws = web.WebSocketResponse(max_msg_size=_MESSAGE_BYTES_MAX, heartbeat=_PING_EVERY_S, compress=False)
        ws.headers.update(answer_headers(request, account, self._turns.new_id(""), "gpt-5.5"))
        del ws.headers["openai-model"]  # the handshake knows no model
        await ws.prepare(request)
        recording.status = 101
        self._journal.count(account.name, sockets=1, sockets_open=1)
        try:
            await _Socket(ws, request, recording, account, self._turns, self._reception, self._journal).serve()
        finally:
            self._journal.count(account.name, sockets_open=-1)
        return ws


class _Socket:
    """One open socket."""

    def __init__(
        self,
        ws: web.WebSocketResponse,
        request: web.Request,
        handshake: Recording,
        account: Account,
        turns: Turns,
        reception: Reception,
        journal: Journal,
    ) -> None:
        self._ws = ws
        self._request = request
        self._handshake = handshake
        self._account = account
        self._turns = turns
        self._reception = reception
        self._journal = journal

    async def serve(self) -> None:
        """Reads on while a turn runs, so that a caller who goes ends it at once."""
        frames: asyncio.Queue[WSMessage] = asyncio.Queue(_FRAMES_MAX)
        async with asyncio.TaskGroup() as group:
            answering = group.create_task(self._answer_all(frames))
            try:
                async for message in self._ws:
                    await frames.put(message)
            finally:
                answering.cancel()

    async def _answer_all(self, frames: asyncio.Queue[WSMessage]) -> None:
        while True:
            message = await frames.get()
            try:
                await self._answer(message)
            except ConnectionCutError:
                self._handshake.end("cut")
                if self._request.transport is not None:
                    self._request.transport.close()
                return
            except ConnectionError:
                return  # the caller went while we wrote; the reading side notices by itself

    async def _answer(self, message: WSMessage) -> None:
        recording = self._journal.open(
            "responses",
            connection_of(self._request),
            transport="websocket",
            method="WS",
            path=self._request.path,
            headers=self._request.raw_headers,
        )
        recording.account = self._account.name
        try:
            with self._reception.lines.carrying(self._request, recording):
                await self._turn(self._body(message, recording), recording)
        except faults.RefusedError as refused:
            await self._refuse(recording, refused.fault)
        except ConnectionCutError:
            recording.end("cut")
            raise
        except (asyncio.CancelledError, ConnectionError):
            recording.end("client_gone")
            raise
        recording.end("complete")

    def _body(self, message: WSMessage, recording: Recording) -> JsonObject:
        if message.type is not WSMsgType.TEXT:
            raise faults.RefusedError(faults.detail("Only text frames are accepted"))
        recording.body = str(message.data).encode()
        body = decode(recording.body)
        if body.get("type") != "response.create":
            raise faults.RefusedError(faults.detail(f"Unknown frame type: {body.get('type')}"))
        if body.get("generate") is False:
            recording.kind = "warmup"
        return body

    async def _turn(self, body: JsonObject, recording: Recording) -> None:
        with self._turns.counted(recording, self._account):
            turn = self._turns.prepare(recording, self._account, body, is_websocket=True)
            end = await self._reception.play(turn.step, self._account)
            sink = _Frames(self._ws, recording)
            recording.status = 200
            await sink.send(event_of(self._account))
            await self._turns.play(turn, recording, sink, end)

    async def _refuse(self, recording: Recording, fault: faults.Fault) -> None:
        recording.status = fault.status
        frame = msgspec.json.encode(
            {"type": "error", "status": fault.status, "error": fault.error, "headers": dict(fault.headers)}
        )
        recording.sent(frame)
        recording.end("refused")
        await self._ws.send_str(frame.decode())


class _Frames:
    """The text frames of one turn."""

    def __init__(self, ws: web.WebSocketResponse, recording: Recording) -> None:
        self._ws = ws
        self._recording = recording

    async def send(self, event: Event, *, bytes_max: int | None = None) -> int:
        """Whole frames only: an event that does not fit is not sent."""
        size = len(event.data)
        if bytes_max is None or size <= bytes_max:
            await self._ws.send_str(event.data.decode())
            self._recording.sent(event.data + b"\n")
        return size

    async def close(self, code: int) -> None:
        await self._ws.close(code=code, message=b"simulated")
