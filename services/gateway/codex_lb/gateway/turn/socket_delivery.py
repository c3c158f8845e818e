"""Gives a turn's answer to a WebSocket client: an event a frame, errors as frames with a status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from codex_lb.gateway.errors import GatewayError, InvalidRequestError, UpstreamRefusedError, envelope, failed_event
from codex_lb.gateway.outcome import STATE_LOST
from codex_lb.gateway.turn.delivery import Dialect, code_for_stream
from codex_lb.gateway.turn.sse import Kind, Segment, data_of, frames_of_segment
from codex_lb.gateway.upstream.headers import Header

KEEPALIVE = '{"type":"codex.keepalive"}'
NOT_FOUND = "previous_response_not_found"

SendFrame = Callable[[str], Awaitable[None]]


class SocketDelivery:
    """The frames of one turn. The connection outlives it, unless the client is better off with a new one."""

    transport = "websocket"

    def __init__(self, send: SendFrame, dialect: Dialect, *, is_continuation: bool) -> None:
        self._send = send
        self._dialect = dialect
        self._is_continuation = is_continuation
        self._is_visible = False
        self.status = 0
        self.bytes_sent = 0
        self.is_ended = False
        self.is_broken = False  # the answer broke off in the middle: Codex heals without a word if the socket closes

    @property
    def is_visible(self) -> bool:
        return self._is_visible

    def begin(self, headers: list[Header], account_id: str) -> None:
        """A WebSocket has no headers per turn."""

    async def take(self, segment: Segment) -> None:
        if self._dialect is Dialect.PUBLIC and segment.kind in (Kind.PRIVATE, Kind.RATE_LIMITS):
            return
        self._is_visible = True
        for frame in frames_of_segment(segment):
            await self._write(frame)

    async def flush(self) -> None:
        """Every frame went out on its own."""

    async def keep_alive(self) -> None:
        await self._write(KEEPALIVE)

    async def end(self) -> None:
        self.is_ended = True

    async def fail(self, error: GatewayError) -> bool:
        """One frame that says it. A continuation that was not shown yet is told to start over: its client can."""
        self.is_ended = True
        if self._is_visible:
            self.is_broken = self._dialect is Dialect.NATIVE
            if not self.is_broken:
                event = failed_event(code=code_for_stream(error), message=str(error), response_id="")
                await self._write(data_of(event).decode())
            return True
        is_refused = isinstance(error, UpstreamRefusedError | InvalidRequestError) and error.code not in STATE_LOST
        if self._is_continuation and not is_refused:
            await self._write(start_over())
        else:
            await self._write(error_frame(error))
        self.status = error.status
        return True

    async def pass_on(self, withheld: list[Segment]) -> bool:
        for segment in withheld:
            if segment.kind is Kind.ERROR:
                return False  # an `error` frame needs a status, which ours has
            await self.take(segment)
        self.is_ended = True
        return bool(withheld)

    async def _write(self, frame: str) -> None:
        self.status = self.status or 200
        self.bytes_sent += len(frame)
        await self._send(frame)


def error_frame(error: GatewayError) -> str:
    """An error as Codex reads it: without a numeric status it would wait for its idle timer (clients reference 5)."""
    inner = msgspec.json.decode(envelope(error), type=dict[str, msgspec.Raw])["error"]
    return msgspec.json.encode({"type": "error", "status": error.status, "error": inner}).decode()


def start_over() -> str:
    """What makes Codex resend everything within 0.2 s, showing nothing (clients reference, fact 3)."""
    error = {
        "type": "invalid_request_error",
        "code": NOT_FOUND,
        "message": "Previous response not found.",
        "param": "previous_response_id",
    }
    return msgspec.json.encode({"type": "error", "status": 400, "error": error}).decode()
