"""WebSockets of the bench: the client's end, and upstream's. Few frames pass, so wsproto may be slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import cast
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Message, Ping, RejectConnection, Request, TextMessage

COMPLETED = '"type":"response.completed"'
FAILED = '"type":"error"'


class SocketError(Exception):
    """A connection that was refused, or a turn that went wrong."""


class Answering:
    """Upstream's end: every text frame is answered by the same frames."""

    def __init__(self, transport: asyncio.Transport, frames: Sequence[str]) -> None:
        self._transport = transport
        self._frames = frames
        self._connection = WSConnection(ConnectionType.SERVER)

    def data_received(self, data: bytes) -> None:
        """What came, the handshake included."""
        self._connection.receive_data(data)
        for event in self._connection.events():
            match event:
                case Request():
                    self._transport.write(self._connection.send(AcceptConnection()))
                case TextMessage(message_finished=True):
                    sent = [self._connection.send(Message(data=frame)) for frame in self._frames]
                    self._transport.write(b"".join(sent))
                case Ping() | CloseConnection():
                    self._transport.write(self._connection.send(event.response()))
                case _:
                    pass


class SocketClient(asyncio.Protocol):
    """A client's end: open until it is closed, one turn at a time."""

    def __init__(self, request: Request) -> None:
        self._connection = WSConnection(ConnectionType.CLIENT)
        self._request = request
        self._due = 0.0
        self._text = ""
        self._waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.first_event_s: float | None = None  # of the last turn, since it was due
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class
        self._transport.write(self._connection.send(self._request))

    async def opened(self) -> None:
        """Returns once it is open. Raises SocketError when it is refused."""
        await self._waiting

    async def turn(self, frame: str, *, due: float) -> None:
        """Sends a frame; returns once its answer is complete. Raises SocketError."""
        self._waiting = asyncio.get_running_loop().create_future()
        self._due, self.first_event_s = due, None
        self._transport.write(self._connection.send(Message(data=frame)))
        await self._waiting

    def close(self) -> None:
        """Hangs up."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._connection.receive_data(data)
        for event in self._connection.events():
            match event:
                case AcceptConnection():
                    self.is_open = True
                    self._ended(None)
                case RejectConnection(status_code=status):
                    self._ended(f"refused with {status}")
                case TextMessage():
                    self._heard(event)
                case Ping():
                    self._transport.write(self._connection.send(event.response()))
                case CloseConnection(code=code, reason=reason):
                    self.is_open = False
                    self._ended(f"closed with {code}: {reason}")
                case _:
                    pass

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._ended(f"lost: {error}")

    def _heard(self, event: TextMessage) -> None:
        if self.first_event_s is None:
            self.first_event_s = time.monotonic() - self._due
        self._text += event.data
        if not event.message_finished:
            return
        text, self._text = self._text, ""
        if COMPLETED in text:
            self._ended(None)
        elif FAILED in text:
            self._ended(text)

    def _ended(self, problem: str | None) -> None:
        if self._waiting.done():
            return
        if problem is None:
            self._waiting.set_result(None)
        else:
            self._waiting.set_exception(SocketError(problem))


async def open_socket(url: str, path: str, headers: Sequence[tuple[str, str]]) -> SocketClient:
    """A WebSocket that is open. Raises SocketError."""
    at = urlsplit(url)
    request = Request(
        host=at.netloc, target=path, extra_headers=[(name.encode(), value.encode()) for name, value in headers]
    )
    _, client = await asyncio.get_running_loop().create_connection(
        lambda: SocketClient(request), at.hostname or "", at.port or 80
    )
    await client.opened()
    return client
