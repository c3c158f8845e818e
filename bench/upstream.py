"""An upstream that costs next to nothing: answers are bytes made beforehand, written by one protocol object.

What it answers is asked for by the header `x-bench: <deltas> <bytes> <gap ms>`: so many text deltas of so many bytes
each. Without a gap all of it goes out in one write; with one, every event goes out alone, and starts with the instant
at which it was written, so that whoever reads it knows how long it was under way. A WebSocket gets that answer, frame by
frame and without gaps, to each frame it sends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import cache
from typing import cast

import uvloop

from bench.sockets import Answering

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nx-request-id: up\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
MARK = b"sent="  # what stands before the instant, in nanoseconds of the monotonic clock, 20 digits
STAMP_CHARS = 20
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
USAGE = {
    "plan_type": "plus",
    "rate_limit": {
        "primary_window": {"used_percent": 3, "limit_window_seconds": 18_000, "reset_after_seconds": 9_000},
        "secondary_window": {"used_percent": 5, "limit_window_seconds": 604_800, "reset_after_seconds": 300_000},
    },
}
MODELS = {"models": [{"slug": "gpt-5.5", "supported_reasoning_levels": [{"effort": "medium"}]}]}


def event(data: str) -> bytes:
    """One event on HTTP."""
    return f"event: {json.loads(data)['type']}\ndata: {data}\n\n".encode()


def said(name: str, **members: object) -> str:
    """What one event says."""
    return json.dumps({"type": name, **members}, separators=(",", ":"))


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked answer."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def delta(size: int, sent: str) -> str:
    """A text delta whose event has `size` bytes in all, or as few as it can."""
    bare = len(event(said("response.output_text.delta", item_id="msg_1", delta=sent)))
    return said("response.output_text.delta", item_id="msg_1", delta=sent + "x" * max(0, size - bare))


@cache
def answer(deltas: int, size: int) -> tuple[list[str], str, list[str]]:
    """What comes before the deltas, one delta with room for its instant, and what comes after."""
    response = {"id": "resp_1", "object": "response", "model": "gpt-5.5", "status": "in_progress"}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
    usage = {"input_tokens": 250, "output_tokens": deltas, "total_tokens": 250 + deltas}
    before = [
        said("response.created", response=response),
        said("response.in_progress", response=response),
        said("response.output_item.added", item=item, output_index=0),
    ]
    after = [
        said("response.output_item.done", item={**item, "content": [{"type": "output_text", "text": "x" * deltas}]}),
        said("response.completed", response={**response, "status": "completed", "usage": usage}),
    ]
    return before, delta(size, MARK.decode() + "0" * STAMP_CHARS), after


@cache
def parts(deltas: int, size: int) -> tuple[bytes, bytes, bytes]:
    """The answer as chunks."""
    before, one, after = answer(deltas, size)
    first, last = (b"".join(chunk(event(data)) for data in some) for some in (before, after))
    return first, chunk(event(one)), last + LAST_CHUNK


@cache
def at_once(deltas: int, size: int) -> bytes:
    """A whole answer."""
    before, one, after = parts(deltas, size)
    return HEAD + before + one * deltas + after


class Connection(asyncio.Protocol):
    """Serves one connection, one request after another."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._left = 0  # of a body, which nobody reads
        self._answer: tuple[bytes, int, int, float] | None = None
        self._task: asyncio.Task[None] | None = None
        self._socket: Answering | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class

    def connection_lost(self, _error: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.data_received(data)
            return
        if self._left:
            taken = min(self._left, len(data))
            self._left -= taken
            data = data[taken:]
            if self._left:
                return
            self._reply()
        if data:
            self._pending += data
            self._read_head()

    def _read_head(self) -> None:
        end = self._pending.find(b"\r\n\r\n")
        if end < 0:
            return
        head, rest = bytes(self._pending[:end]), bytes(self._pending[end + 4 :])
        self._pending.clear()
        lines = head.split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        deltas, size, gap_ms = (int(n) for n in headers.get(b"x-bench", b"3 200 0").split())
        if b"upgrade" in headers:
            before, one, after = answer(deltas, size)
            self._socket = Answering(self._transport, [*before, *[one] * deltas, *after])
            self._socket.data_received(head + b"\r\n\r\n" + rest)
            return
        self._answer = (lines[0].split(b" ")[1], deltas, size, gap_ms / 1000)
        self._left = int(headers.get(b"content-length", b"0"))
        if not self._left:
            self._reply()
        if rest:
            self.data_received(rest)

    def _reply(self) -> None:
        assert self._answer is not None
        path, deltas, size, gap_s = self._answer
        if b"/usage" in path or b"/models" in path:
            page = json.dumps(USAGE if b"/usage" in path else MODELS).encode()
            self._transport.write(JSON_HEAD % len(page) + page)
        elif gap_s:
            self._task = asyncio.create_task(self._paced(deltas, size, gap_s))
        else:
            self._transport.write(at_once(deltas, size))

    async def _paced(self, deltas: int, size: int, gap_s: float) -> None:
        before, one, after = parts(deltas, size)
        at = one.index(MARK) + len(MARK)
        start, end = one[:at], one[at + STAMP_CHARS :]
        self._transport.write(HEAD + before)
        due = time.monotonic()
        for _ in range(deltas):
            due += gap_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._transport.write(start + b"%020d" % time.monotonic_ns() + end)
        self._transport.write(after)


async def main() -> None:
    """Serves until killed; says its port first."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=2048)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
