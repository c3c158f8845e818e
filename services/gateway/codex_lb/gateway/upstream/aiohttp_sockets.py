"""The port for WebSockets on aiohttp, which also knows proxies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from codex_lb.gateway.upstream.aiohttp_session import open_session, unreached
from codex_lb.gateway.upstream.blame import judge_answer
from codex_lb.gateway.upstream.headers import Header
from codex_lb.gateway.upstream.http import BrokenConnectionError
from codex_lb.gateway.upstream.websocket import ABNORMAL, Closed, HandshakeRefusedError, UpstreamSocket
from codex_lb.kit.clock import Clock

HEARTBEAT_S = 60.0  # upstream thinks for minutes without a frame; a ping tells thinking from gone
CLOSE_S = 2.0


@asynccontextmanager
async def open_aiohttp_sockets(
    base_url: str, clock: Clock, *, connect_timeout_s: float, frame_bytes_max: int, is_proxied: bool
) -> AsyncIterator[AiohttpSockets]:
    """The port, with a session of its own."""
    async with open_session(connect_timeout_s=connect_timeout_s, is_proxied=is_proxied) as session:
        yield AiohttpSockets(session, base_url, clock, frame_bytes_max=frame_bytes_max)


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
    """The port, in a session that is somebody else's to close."""

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
