"""One HTTP/1.1 connection to upstream, and the one answer that is under way on it (RFC 9112).

llhttp, by way of httptools, reads the answers. What has come of a body is kept until somebody takes it, in pieces as they
came; beyond a bound the connection is not read.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from codex_lb.gateway.outcome import Fault
from codex_lb.gateway.upstream.http import NO_ANSWER, READ_BUFFER_BYTES, BrokenConnectionError, cut_off

HEAD_BYTES_MAX = 64 * 2**10  # of an answer; upstream's is about 3 KiB
SLICE_BYTES = 2**20  # of a large body: as much as goes out without holding up other turns
NO_BODY = frozenset({204, 304})


class Answer:
    """The answer to one request. Methods called `on_…` are the parser's to call."""

    def __init__(self, connection: Connection) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._connection = connection
        self._pieces: list[bytes] = []
        self._kept_bytes = 0
        self._head_bytes = 0
        self._has_head = False
        self._is_framed = False  # else its end is that of the connection
        self._is_last = False  # upstream closes the connection behind it
        self._is_whole = False
        self._has_surplus = False  # bytes behind the end, which nobody asked for
        self._fault: Fault | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    @property
    def has_head(self) -> bool:
        """Whether the status line and the headers have come."""
        return self._has_head

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self._is_whole or self._fault is not None

    @property
    def is_at_end(self) -> bool:
        return self._is_whole and not self._pieces

    @property
    def leaves_connection_usable(self) -> bool:
        """Whether another request may follow on the same connection."""
        return self._is_whole and self._is_framed and not self._is_last and not self._has_surplus

    async def head(self) -> None:
        """Waits for the status line and the headers. Raises BrokenConnectionError."""
        while not self._has_head:
            if self._fault is not None:
                raise BrokenConnectionError(self._fault)
            await self._news()

    async def chunk(self) -> bytes:
        """What has come of the body, in one piece; empty at its end. Raises BrokenConnectionError."""
        while not self._pieces:
            if self._fault is not None:
                raise BrokenConnectionError(self._fault)
            if self._is_whole:
                return b""
            await self._news()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._kept_bytes = 0
        self._connection.go_on_reading()
        return data

    async def read(self, bytes_max: int) -> bytes:
        """The body whole, cut at the bound. Raises BrokenConnectionError."""
        body = bytearray()
        while len(body) < bytes_max and (chunk := await self.chunk()):
            body += chunk
        return bytes(body[:bytes_max])

    def feed(self, data: bytes) -> None:
        """Takes what has come."""
        if self._parser is None:
            self._has_surplus = True
            return
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._spoil("not HTTP")
        if not self._has_head and self._head_bytes > HEAD_BYTES_MAX:
            self._spoil("endless headers")
        if self._kept_bytes > READ_BUFFER_BYTES:
            self._connection.stop_reading()
        self._wake()

    def leave(self) -> None:
        """Nobody asks for more. It and its parser hold each other, and would wait for the garbage collector."""
        self._parser = None

    def end(self, error: Exception | None) -> None:
        """The connection is closed."""
        if not self.is_over:
            if self._has_head and not self._is_framed and error is None:
                self._is_whole = True
            else:
                how = "closed the connection" if error is None else type(error).__name__
                self._fault = cut_off(how) if self._has_head else NO_ANSWER
        self._parser = None
        self._wake()

    def on_message_begin(self) -> None:
        if self._is_whole:
            self._has_surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_whole:
            self.headers.setdefault(name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape"))

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser is None or self._is_whole:
            return
        self.status = parser.get_status_code()
        if self.status < 200:
            return  # interim: the true one follows
        has_length = "content-length" in self.headers or self.status in NO_BODY
        self._is_framed = has_length or "chunked" in self.headers.get("transfer-encoding", "").lower()
        self._is_last = not parser.should_keep_alive()
        self._has_head = True

    def on_body(self, data: bytes) -> None:
        if not self._is_whole:
            self._pieces.append(data)
            self._kept_bytes += len(data)

    def on_message_complete(self) -> None:
        if self._has_head:
            self._is_whole = True
        else:
            self.headers.clear()

    def _spoil(self, how: str) -> None:
        if self._is_whole:
            self._has_surplus = True
        elif self._fault is None:
            self._fault = cut_off(how)
        self._parser = None

    async def _news(self) -> None:
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
        if self._has_head or self._fault is not None:
            self._connection.need_not_send()


class Connection(asyncio.Protocol):
    """A connection that is asked one thing at a time."""

    def __init__(self) -> None:
        self._answer: Answer | None = None
        self._is_paused = False
        self._is_full = False  # the socket takes no more at the moment
        self._sending: asyncio.Future[None] | None = None
        self._is_sent = True
        self.idle_since = 0.0  # by the loop's clock; the pool's

    @property
    def is_usable(self) -> bool:
        """Whether the next request may be sent."""
        return not self._transport.is_closing() and self._answer is None

    async def ask(self, head: bytes, body: bytes) -> Answer:
        """Sends a request and waits for the head of its answer. Raises BrokenConnectionError."""
        answer = self._answer = Answer(self)
        self._is_sent = False
        if len(body) <= SLICE_BYTES:
            self._transport.write(head + body)
            self._is_sent = True
        else:
            self._transport.write(head)
            await self._send(body, answer)
        await answer.head()
        return answer

    def leave(self) -> bool:
        """The answer is done with. Whether another request may follow; if not, the connection is closed.

        Closing is how upstream is told to stop.
        """
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.leave()
        if answer is not None and answer.leaves_connection_usable and self._is_sent:
            self.go_on_reading()
            return not self._transport.is_closing()
        self.close()
        return False

    def close(self) -> None:
        """At once."""
        self._transport.abort()

    def stop_reading(self) -> None:
        """Enough is kept for now."""
        if not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def go_on_reading(self) -> None:
        """What was kept is taken."""
        if self._is_paused:
            self._is_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def need_not_send(self) -> None:
        """Upstream has answered, or is gone: nobody reads the rest of the request."""
        if self._sending is not None and not self._sending.done():
            self._sending.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.close()  # nobody asked
        else:
            self._answer.feed(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None:
            self._answer.end(error)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self.need_not_send()

    async def _send(self, body: bytes, answer: Answer) -> None:
        view = memoryview(body)
        for start in range(0, len(body), SLICE_BYTES):
            if answer.has_head or answer.is_over:
                return
            self._transport.write(view[start : start + SLICE_BYTES])
            if self._is_full:
                self._sending = asyncio.get_running_loop().create_future()
                try:
                    await self._sending
                finally:
                    self._sending = None
        self._is_sent = True
