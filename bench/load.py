"""Load: requests written as bytes, answers looked at no closer than for their end and their instants."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import cast
from urllib.parse import urlsplit

from bench.upstream import LAST_CHUNK, MARK, STAMP_CHARS

END = b"\r\n" + LAST_CHUNK
UNSTAMPED = b"0" * STAMP_CHARS
READ_BYTES = 256 * 2**10


class LoadError(Exception):
    """An answer that is no answer."""


@dataclass
class Seen:
    """What came back."""

    turns: int = 0
    first_byte_s: list[float] = field(default_factory=list)  # since the turn was due
    event_s: list[float] = field(default_factory=list)  # since upstream wrote it


def request(url: str, path: str, body: bytes, asked: str, *headers: str) -> bytes:
    """A request as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", f"host: {urlsplit(url).netloc}", "content-type: application/json", *headers]
    return "\r\n".join([*lines, f"x-bench: {asked}", f"content-length: {len(body)}", "", ""]).encode() + body


class Client(asyncio.Protocol):
    """One kept connection."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._tail = b""
        self._has_body = False
        self._due = 0.0
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class

    @property
    def is_open(self) -> bool:
        """Whether the other side has not hung up."""
        return not self._transport.is_closing()

    async def turn(self, data: bytes, *, due: float | None = None) -> None:
        """Sends a request; returns at the end of its answer."""
        self._done = asyncio.get_running_loop().create_future()
        self._tail, self._has_body = b"", False
        self._due = time.monotonic() if due is None else due
        self._transport.write(data)
        await self._done
        self._seen.turns += 1

    def data_received(self, data: bytes) -> None:
        done = self._done
        if done is None or done.done():
            return
        if not self._has_body:
            self._look_at_head(data, done)
        self._note_instants(data)
        self._tail = (self._tail + data)[-len(END) :] if len(data) < len(END) else data[-len(END) :]
        if self._tail == END and not done.done():
            done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(LoadError(f"the connection broke: {error}"))

    def close(self) -> None:
        """Hangs up."""
        self._transport.close()

    def _look_at_head(self, data: bytes, done: asyncio.Future[None]) -> None:
        if not self._tail and not data.startswith(b"HTTP/1.1 200"):
            done.set_exception(LoadError(data[:600].decode(errors="replace")))
        if b"data: " in data:
            self._has_body = True
            self._seen.first_byte_s.append(time.monotonic() - self._due)

    def _note_instants(self, data: bytes) -> None:
        at = data.find(MARK)
        if at < 0:
            return
        now = time.monotonic_ns()
        while at >= 0:
            sent = data[at + len(MARK) : at + len(MARK) + STAMP_CHARS]
            if sent == UNSTAMPED:
                return  # and so are all others
            if sent.isdigit() and len(sent) == STAMP_CHARS:
                self._seen.event_s.append((now - int(sent)) / 1e9)
            at = data.find(MARK, at + 1)


async def connected(url: str, seen: Seen) -> Client:
    """A new connection."""
    at = urlsplit(url)
    _, client = await asyncio.get_running_loop().create_connection(
        lambda: Client(seen), at.hostname or "", at.port or 80
    )
    return client


async def closed_loop(
    url: str, data: bytes | Callable[[], bytes], *, clients: int, seconds: float = inf, turns: float = inf
) -> Seen:
    """Clients that ask again as soon as they are answered, for so long, or until there were so many turns."""
    seen = Seen()
    until = time.monotonic() + seconds

    async def one() -> None:
        client = await connected(url, seen)
        while time.monotonic() < until and seen.turns < turns:
            await client.turn(data if isinstance(data, bytes) else data())
        client.close()

    await asyncio.gather(*(one() for _ in range(clients)))
    return seen


async def open_loop(url: str, data: bytes, *, per_second: float, seconds: float) -> Seen:
    """Turns that begin when they are due, however many are still running."""
    seen = Seen()
    idle: deque[Client] = deque()

    async def one(due: float) -> None:
        while idle and not idle[-1].is_open:
            idle.pop()
        client = idle.pop() if idle else await connected(url, seen)
        await client.turn(data, due=due)
        idle.append(client)

    started = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(per_second * seconds)):
            due = started + number / per_second
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.create_task(one(due))
    for client in idle:
        client.close()
    return seen


async def together(url: str, data: bytes, *, streams: int, within_s: float, midway: Callable[[], None]) -> Seen:
    """Streams that begin within a time, spread evenly, and run side by side; `midway` is called when all have begun."""
    seen = Seen()

    async def one(number: int) -> None:
        client = await connected(url, seen)
        await asyncio.sleep(within_s * number / streams)
        await client.turn(data)
        client.close()

    async with asyncio.TaskGroup() as tasks:
        for number in range(streams):
            tasks.create_task(one(number))
        await asyncio.sleep(within_s + 0.5)
        midway()
    return seen
