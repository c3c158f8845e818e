"""A WebSocket client that may do everything wrong: it writes the bytes it is told to and reads frames one by one."""

from __future__ import annotations

import asyncio
import os
import struct
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10
WITHIN_S = 10.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the one of RFC 6455
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # and its answer
UPGRADE = {
    "Host": "127.0.0.1",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}
CUT = -1  # in place of a close code: the connection ended without a close frame
EMPTY = 0  # a close frame without a code


@dataclass(frozen=True, slots=True)
class Frame:
    """As it came."""

    opcode: int
    payload: bytes
    is_final: bool = True
    reserved: int = 0

    @property
    def close_code(self) -> int:
        """Of a close frame."""
        return int(struct.unpack("!H", self.payload[:2])[0]) if self.payload else EMPTY


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    is_final: bool = True,
    reserved: int = 0,
    is_masked: bool = True,
    declared: int | None = None,
    length_bytes: int | None = None,
) -> bytes:
    """One frame; `declared` is the length it claims, in `length_bytes` (0, 2 or 8) bytes behind the short length."""
    size = len(payload) if declared is None else declared
    if length_bytes is None:
        length_bytes = 0 if size < 126 else 2 if size < 2**16 else 8
    short = {0: size, 2: 126, 8: 127}[length_bytes]
    long = size.to_bytes(length_bytes, "big") if length_bytes else b""
    start = bytes([(0x80 if is_final else 0) | reserved | opcode, (0x80 if is_masked else 0) | short]) + long
    if not is_masked:
        return start + payload
    mask = os.urandom(4)
    return start + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes) -> bytes:
    """The payload under the mask."""
    whole = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(payload), "big")


def text(said: str | bytes) -> bytes:
    """A whole text message."""
    return frame(TEXT, said.encode() if isinstance(said, str) else said)


def fragments(opcode: int, *parts: bytes) -> list[bytes]:
    """One message in as many frames."""
    last = len(parts) - 1
    return [frame(CONTINUATION if n else opcode, part, is_final=n == last) for n, part in enumerate(parts)]


def close(code: int, reason: bytes = b"") -> bytes:
    """A close frame with a code."""
    return frame(CLOSE, struct.pack("!H", code) + reason)


def deflated(message: bytes, compressor: zlib._Compress | None = None) -> bytes:
    """The message as permessage-deflate wants it; with one compressor for all messages there is context takeover."""
    compressor = compressor or zlib.compressobj(wbits=-15)
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Inflater:
    """Reads what the server compressed; with context, each message builds on those before."""

    def __init__(self, *, has_context: bool, bits: int = 15) -> None:
        self._has_context = has_context
        self._bits = bits
        self._inflate = zlib.decompressobj(wbits=-bits)

    def read(self, payload: bytes) -> bytes:
        """A message as it was before."""
        plain = self._inflate.decompress(payload + b"\x00\x00\xff\xff")
        if not self._has_context:
            self._inflate = zlib.decompressobj(wbits=-self._bits)
        return plain


@dataclass(frozen=True, slots=True)
class Answer:
    """How the server took the handshake."""

    status: int
    headers: dict[str, str]  # names in lower case


@dataclass
class RawWebSocket:
    """A connection after its handshake."""

    answer: Answer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    seen: list[Frame] = field(default_factory=list)
    inflater: Inflater | None = None

    async def send(self, *data: bytes) -> None:
        """Writes the bytes as they are. A server that has gone is no error: what it said last can still be read."""
        try:
            self.writer.write(b"".join(data))
            await self.writer.drain()
        except ConnectionError:
            return

    async def frame(self) -> Frame | None:
        """The next frame; None at the end."""
        try:
            async with asyncio.timeout(WITHIN_S):
                first, second = await self.reader.readexactly(2)
                size = second & 0x7F
                if size >= 126:
                    size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
                payload = await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        if first & RSV1 and self.inflater is not None:
            payload = self.inflater.read(payload)
        came = Frame(first & 0x0F, payload, bool(first & 0x80), first & 0x70)
        self.seen.append(came)
        return came

    async def until(self, opcode: int, payload: bytes) -> list[Frame]:
        """What came before a frame like this. Raises AssertionError when the connection ends first."""
        before: list[Frame] = []
        while (came := await self.frame()) is not None:
            if (came.opcode, came.payload) == (opcode, payload):
                return before
            before.append(came)
        raise AssertionError(f"ended after {before}")

    async def end(self) -> int:
        """The code of the server's close frame, once the connection is over; CUT when there was none."""
        while (came := await self.frame()) is not None:
            if came.opcode == CLOSE:
                assert await self.frame() is None, "nothing comes after a close frame"
                return came.close_code
        return CUT


def handshake(
    path: str, changed: Mapping[str, str | None] | None = None, *, method: str = "GET", version: str = "HTTP/1.1"
) -> bytes:
    """The request; headers that are None are left out."""
    headers = {**UPGRADE, **(changed or {})}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"{method} {path} {version}", *lines, "", ""]).encode()


@asynccontextmanager
async def opened(url: str, request: bytes) -> AsyncIterator[RawWebSocket]:
    """A connection that has sent this and read the answer's head, whatever it says."""
    at = urlsplit(url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    try:
        writer.write(request)
        async with asyncio.timeout(WITHIN_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        answer = Answer(int(head[0].split()[1]), {name.lower(): value.strip() for name, _, value in pairs})
        yield RawWebSocket(answer, reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def connected(url: str, path: str, *, compression: str | None = None) -> AsyncIterator[RawWebSocket]:
    """An open WebSocket; `compression` is what the client offers."""
    async with opened(url, handshake(path, {"Sec-WebSocket-Extensions": compression})) as socket:
        assert socket.answer.status == 101, socket.answer
        if compression is not None:
            assert socket.answer.headers["sec-websocket-extensions"].startswith("permessage-deflate")
            socket.inflater = Inflater(has_context="server_no_context_takeover" not in compression)
        yield socket
