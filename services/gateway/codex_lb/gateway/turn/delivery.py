"""Gives a turn's answer to an HTTP client: as a stream of events in its dialect, or folded into one object."""

from __future__ import annotations

from contextlib import suppress
from enum import Enum, auto

import msgspec
from starlette.types import Send

from codex_lb.gateway.errors import GatewayError, UpstreamFailedError, failed_event
from codex_lb.gateway.outcome import Blame, Fault
from codex_lb.gateway.translate.fold import Fold
from codex_lb.gateway.turn.keepalive import CODEX_KEEPALIVE, COMMENT_KEEPALIVE
from codex_lb.gateway.turn.sse import Kind, Segment, event_of_frame
from codex_lb.gateway.upstream.headers import Header, RawHeader, downstream_headers

STREAM_HEADERS: tuple[RawHeader, ...] = (
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
)
EVENT_STREAM: RawHeader = (b"content-type", b"text/event-stream; charset=utf-8")


class Dialect(Enum):
    """Which contract a client expects; decided once, at the edge (data-plane reference 1.6)."""

    NATIVE = auto()  # Codex: upstream's events as they come
    PUBLIC = auto()  # SDKs: no codex.* events, errors as response.failed


class SseDelivery:
    """A stream of events. What is forwarded keeps its bytes."""

    transport = "sse"

    def __init__(self, send: Send, dialect: Dialect, own_headers: list[RawHeader], *, model_is_as_asked: bool) -> None:
        self._send = send
        self._dialect = dialect
        self._own_headers = own_headers
        self._model_is_as_asked = model_is_as_asked
        self._upstream_headers: list[RawHeader] = []
        self._fold = Fold()
        self.continues = ""  # the response that the client continued, which upstream was not told of
        self._is_visible = False
        self._pending: list[bytes] = []
        self.status = 0
        self.bytes_sent = 0
        self.is_ended = False

    @property
    def is_visible(self) -> bool:
        return self._is_visible

    def begin(self, headers: list[Header], account_id: str) -> None:
        self._upstream_headers = downstream_headers(headers, account_id, model_is_as_asked=self._model_is_as_asked)
        self._fold.continues = self.continues

    async def take(self, segment: Segment) -> None:
        raw = segment.raw if segment.frame is None else event_of_frame(segment.frame)
        if segment.kind is not Kind.ORDINARY and self._dialect is Dialect.PUBLIC:
            if segment.kind in (Kind.PRIVATE, Kind.RATE_LIMITS):
                return
            raw = self._in_public(segment, raw)
        self._is_visible = True
        await self._write(raw)

    def _in_public(self, segment: Segment, raw: bytes) -> bytes:
        """What the public contract makes of an event that means something."""
        match segment.kind:
            case Kind.ITEM_DONE:
                self._fold.add_item(segment.data)
            case Kind.COMPLETED | Kind.INCOMPLETE:
                return self._fold.event(raw, segment.data)
            case Kind.ERROR:
                return as_failed_event(segment.data)
            case _:
                pass
        return raw

    def items(self) -> list[bytes]:
        """What was answered, item by item; of the public contract only, for nobody else is it collected."""
        return self._fold.items()

    async def keep_alive(self) -> None:
        await self._write(CODEX_KEEPALIVE if self._dialect is Dialect.NATIVE else COMMENT_KEEPALIVE)
        await self.flush()

    async def flush(self) -> None:
        if self._pending:
            await self._open()
            data = b"".join(self._pending) if len(self._pending) > 1 else self._pending[0]
            self._pending.clear()
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        await self._open()
        self.is_ended = True
        data = b"".join(self._pending)
        self._pending.clear()
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def fail(self, error: GatewayError) -> bool:
        if not self.status and not self._pending:
            return False
        await self._write(failed_event(code=code_for_stream(error), message=str(error), response_id=""))
        await self.end()
        return True

    async def pass_on(self, withheld: list[Segment]) -> bool:
        for segment in withheld:
            await self.take(segment)
        if withheld:
            await self.end()
        return bool(withheld)

    async def _write(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        self._pending.append(data)  # one piece for all that came in one piece: see flush

    async def _open(self) -> None:
        if self.status:
            return
        self.status = 200
        own = [*self._own_headers, *STREAM_HEADERS, *self._upstream_headers]
        if not any(name == b"content-type" for name, _ in own):
            own.append(EVENT_STREAM)
        await self._send({"type": "http.response.start", "status": 200, "headers": own})


class JsonDelivery:
    """One object, sent when it is whole: until then nothing is visible and the turn may still move."""

    transport = "json"

    def __init__(self, send: Send, own_headers: list[RawHeader], *, model_is_as_asked: bool) -> None:
        self._send = send
        self._own_headers = own_headers
        self._model_is_as_asked = model_is_as_asked
        self._upstream_headers: list[RawHeader] = []
        self._fold = Fold()
        self.continues = ""  # the response that the client continued, which upstream was not told of
        self._response = b""
        self.status = 0
        self.bytes_sent = 0
        self.is_ended = False

    @property
    def is_visible(self) -> bool:
        return bool(self.status)

    def begin(self, headers: list[Header], account_id: str) -> None:
        passed = downstream_headers(headers, account_id, model_is_as_asked=self._model_is_as_asked)
        self._upstream_headers = [header for header in passed if header[0] != b"content-type"]
        self._fold = Fold()
        self._fold.continues = self.continues
        self._response = b""

    async def take(self, segment: Segment) -> None:
        if segment.kind is Kind.ITEM_DONE:
            self._fold.add_item(segment.data)
        elif segment.kind in (Kind.COMPLETED, Kind.INCOMPLETE):
            with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._response = self._fold.response(segment.data)

    def items(self) -> list[bytes]:
        """What was answered, item by item."""
        return self._fold.items()

    async def flush(self) -> None:
        """One object goes out at its end."""

    async def keep_alive(self) -> None:
        """Nothing can be said before the status line of one object."""

    async def end(self) -> None:
        if not self._response:
            raise UpstreamFailedError(Fault("upstream_error", Blame.UPSTREAM, "Upstream's answer cannot be read"))
        self.status = 200
        self.is_ended = True
        self.bytes_sent = len(self._response)
        headers = [
            *self._own_headers,
            *self._upstream_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self._response)).encode()),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": self._response, "more_body": False})

    async def fail(self, error: GatewayError) -> bool:  # noqa: ARG002 - the status says it
        return False

    async def pass_on(self, withheld: list[Segment]) -> bool:  # noqa: ARG002 - the status says it
        return False


# Codes that clients know what to do with; any other makes OpenCode give up (clients reference 6).
KNOWN_TO_CLIENTS = frozenset({
    "usage_limit_reached", "rate_limit_exceeded", "server_is_overloaded", "context_length_exceeded",
    "insufficient_quota", "invalid_prompt", "previous_response_not_found",
})  # fmt: skip


def code_for_stream(error: GatewayError) -> str:
    """The code of a failure inside a stream: one that clients know, else the one they retry."""
    return error.code if error.code in KNOWN_TO_CLIENTS else "server_error"


def as_failed_event(data: bytes) -> bytes:
    """An `error` event as `response.failed`, which every SDK understands."""
    try:
        event = msgspec.json.decode(data, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        event = {}
    nested = event.get("error")
    said = nested if isinstance(nested, dict) else event
    code, message = said.get("code"), said.get("message")
    return failed_event(
        code=code if isinstance(code, str) else "server_error",
        message=message if isinstance(message, str) else "Upstream error",
        response_id="",
    )
