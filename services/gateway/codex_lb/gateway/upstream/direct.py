"""The port for HTTP without anybody between: connections that are kept, and requests written as bytes."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from urllib.parse import urlsplit

from aiohappyeyeballs import AddrInfoType, start_connection

from codex_lb.gateway.upstream.exchange import Answer, Connection
from codex_lb.gateway.upstream.headers import Header
from codex_lb.gateway.upstream.http import KEEPALIVE_S, BrokenConnectionError, unreached

ADDRESSES_S = 300.0  # how long a name's addresses are believed
NEXT_ADDRESS_S = 0.25  # RFC 8305, section 5: how long one address is tried alone
PORTS = {"http": 80, "https": 443}


class DirectUpstream:
    """The port. One per process; connections are kept in the order in which they were last used."""

    def __init__(self, base_url: str, *, connect_timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        """`tls` is for certificates that the system does not know."""
        at = urlsplit(base_url)
        self._host = at.hostname or ""
        self._port = at.port or PORTS[at.scheme]
        self._authority = at.netloc.rpartition("@")[2]
        self._prefix = at.path.rstrip("/")
        self._tls = (tls or ssl.create_default_context()) if at.scheme == "https" else None
        self._connect_timeout_s = connect_timeout_s
        self._idle: deque[Connection] = deque()
        self._addresses: Sequence[AddrInfoType] = ()
        self._addresses_until = 0.0
        self._sweeping: asyncio.TimerHandle | None = None

    def post(self, path: str, *, headers: list[Header], body: bytes) -> Request:
        return self.request("POST", path, headers=headers, body=body)

    def request(self, method: str, path: str, *, headers: list[Header], body: bytes) -> Request:
        has_length = body or method not in {"GET", "DELETE"}
        length = [("content-length", str(len(body)))] if has_length else []
        lines = [f"{method} {self._prefix}{path} HTTP/1.1", f"host: {self._authority}"]
        return Request(self, head_of(lines, [*headers, *length]), body)

    async def aclose(self) -> None:
        """Closes what is kept."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        while self._idle:
            self._idle.pop().close()

    async def take(self) -> Connection:
        """A connection nobody uses, the one used last if there are several. Raises BrokenConnectionError."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                return await self._connected()
        except (OSError, TimeoutError) as error:
            self._addresses_until = 0.0
            raise BrokenConnectionError(unreached(error)) from error

    def give_back(self, connection: Connection) -> None:
        """The answer is done with, read to its end or not."""
        if not connection.leave():
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweeping is None:
            self._sweeping = loop.call_later(KEEPALIVE_S, self._sweep)

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        if time.monotonic() >= self._addresses_until:
            self._addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._addresses_until = time.monotonic() + ADDRESSES_S
        opened = await start_connection(self._addresses, happy_eyeballs_delay=NEXT_ADDRESS_S)
        try:
            name = self._host if self._tls is not None else None
            _, connection = await loop.create_connection(Connection, sock=opened, ssl=self._tls, server_hostname=name)
        except BaseException:
            opened.close()
            raise
        return connection

    def _sweep(self) -> None:
        """Closes what nobody has used for long, before upstream does."""
        loop = asyncio.get_running_loop()
        self._sweeping = None
        while self._idle and loop.time() >= self._idle[0].idle_since + KEEPALIVE_S:
            self._idle.popleft().close()
        if self._idle:
            self._sweeping = loop.call_at(self._idle[0].idle_since + KEEPALIVE_S, self._sweep)


class Request:
    """A request that is sent on entering; leaving ends its answer, wherever it is."""

    def __init__(self, upstream: DirectUpstream, head: bytes, body: bytes) -> None:
        self._upstream = upstream
        self._head = head
        self._body = body
        self._connection: Connection | None = None

    async def __aenter__(self) -> Answer:
        connection = await self._upstream.take()
        try:
            answer = await connection.ask(self._head, self._body)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return answer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._upstream.give_back(self._connection)


def head_of(lines: list[str], headers: list[Header]) -> bytes:
    """The head of a request. Raises ValueError for a header that would be more than one."""
    lines += [f"{name}: {value}" for name, value in headers]
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1 or "\0" in head:
        raise ValueError("a header holds a line end")
    return head.encode() + b"\r\n\r\n"
