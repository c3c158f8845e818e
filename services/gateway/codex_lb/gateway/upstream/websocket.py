"""A WebSocket to upstream: one account, one event a frame. A port beside the one for HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from codex_lb.gateway.outcome import Blame, Failure, Fault
from codex_lb.gateway.upstream.blame import judge_answer
from codex_lb.gateway.upstream.headers import Header
from codex_lb.gateway.upstream.http import BrokenConnectionError, unreached
from codex_lb.kit.clock import Clock

HEARTBEAT_S = 60.0  # upstream thinks for minutes without a frame; a ping tells thinking from gone
CLOSE_S = 2.0
ABNORMAL = 1006  # the connection ended without a close frame; never sent (RFC 6455, 7.4.1)


@dataclass(frozen=True, slots=True)
class Closed:
    """The socket is closed, by whoever."""

    code: int
    reason: str


class HandshakeRefusedError(Exception):
    """Upstream answered the handshake with an HTTP status; `failure` is what it means."""

    def __init__(self, status: int, failure: Failure) -> None:
        super().__init__(failure.fault.message)
        self.status = status
        self.failure = failure


class UpstreamSocket(Protocol):
    """An open socket."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the handshake's answer; case-insensitive."""
        ...

    @property
    def is_open(self) -> bool: ...

    async def send(self, frame: str) -> None:
        """Raises BrokenConnectionError."""
        ...

    async def receive(self) -> str | Closed:
        """The next frame. May be cancelled and called again; must be called for pings to be answered."""
        ...

    async def close(self) -> None:
        """Says goodbye, bounded."""
        ...


class UpstreamSockets(Protocol):
    """Opens sockets."""

    async def open(self, path: str, *, headers: list[Header]) -> UpstreamSocket:
        """Raises HandshakeRefusedError or BrokenConnectionError."""
        ...


class AiohttpSocket:
    """A socket of aiohttp's."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    @property
    def headers(self) -> Mapping[str, str]:
        return self._socket._response.headers  # noqa: SLF001 - aiohttp has no public way to the handshake's headers

    @property
    def is_open(self) -> bool:
        return not self._socket.closed

    async def send(self, frame: str) -> None:
        try:
            await self._socket.send_str(frame)
        except (aiohttp.ClientError, OSError) as error:
            raise BrokenConnectionError(unreached(error)) from error

    async def receive(self) -> str | Closed:
        while True:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                text: str = message.data
                return text
            if message.type is aiohttp.WSMsgType.BINARY:
                continue  # upstream sends none; nobody could read it
            reason = message.extra if message.type is aiohttp.WSMsgType.CLOSE else ""
            return Closed(self._socket.close_code or ABNORMAL, reason or "")

    async def close(self) -> None:
        await self._socket.close()


class AiohttpSockets:
    """The port on aiohttp, in the session that HTTP uses too."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, clock: Clock, *, frame_bytes_max: int) -> None:
        self._session = session
        self._base_url = base_url
        self._clock = clock
        self._frame_bytes_max = frame_bytes_max

    async def open(self, path: str, *, headers: list[Header]) -> UpstreamSocket:
        try:
            socket = await self._session.ws_connect(
                self._base_url + path,
                headers=headers,
                heartbeat=HEARTBEAT_S,
                max_msg_size=self._frame_bytes_max,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
            )
        except aiohttp.WSServerHandshakeError as error:
            answered = {name.lower(): value for name, value in (error.headers or {}).items()}
            failure = judge_answer(error.status, answered, b"", now=self._clock.now())
            raise HandshakeRefusedError(error.status, failure) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise BrokenConnectionError(unreached(error)) from error
        return AiohttpSocket(socket)


def closed_early(closed: Closed) -> Fault:
    """A socket that closed before the answer was whole."""
    message = f"Upstream closed the connection ({closed.code}) before the answer's end"
    return Fault("stream_incomplete", Blame.UPSTREAM, message)
