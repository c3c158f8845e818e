"""The loads by name: what clients ask for again and again, and by what its cost is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

import zstandard

from bench.load import Seen, closed_loop, together
from bench.subjects import Subject

SHORT = "5 120 0"  # five deltas, and five events around them
LONG, LONG_EVENTS = "500 200 0", 505
CLIENTS = 16
PACED_STREAMS, PACED_GAP_MS = 50, 20
LARGE_BYTES = 8 * 2**20


class Load(Protocol):
    """Something that subjects are asked for."""

    @property
    def per(self) -> int:
        """The events of a turn when an event is what counts, else 1."""

    async def run(self, subject: Subject, seconds: float) -> Seen:
        """Asks for about so long."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """Clients that ask again as soon as they are answered."""

    data: bytes
    answer: str  # see upstream.py
    clients: int = CLIENTS
    per: int = 1
    headers: tuple[str, ...] = ()
    path: str | None = None  # else the subject's own

    async def run(self, subject: Subject, seconds: float) -> Seen:
        asked = subject.request(self.data, self.answer, *self.headers, path=self.path)
        return await closed_loop(subject.url, asked, clients=self.clients, seconds=seconds)


@dataclass(frozen=True, slots=True)
class Paced:
    """Streams side by side whose events come one by one."""

    data: bytes
    per: int

    async def run(self, subject: Subject, seconds: float) -> Seen:
        _ = seconds  # the events of a stream decide
        asked = subject.request(self.data, f"{self.per - 5} 200 {PACED_GAP_MS}")
        return await together(subject.url, asked, streams=PACED_STREAMS, within_s=0.5, midway=lambda: None)


def body(size: int, *, stream: bool = True) -> bytes:
    """A request of about so many bytes."""
    text = "Say hello. " + "x" * max(0, size - 250)
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    asked = {"model": "gpt-5.5", "instructions": "Answer briefly.", "input": [said], "stream": stream, "store": False}
    return json.dumps(asked).encode()


def chat_body() -> bytes:
    """A request of a chat client's."""
    asked = {"model": "gpt-5.5", "messages": [{"role": "user", "content": "Say hello."}], "stream": True}
    return json.dumps(asked).encode()


def packed_body() -> bytes:
    """8 MB that zstd packs as it packs a conversation: to about a quarter."""
    words = [f"{number:x} " for number in Random(1).choices(range(2**16), k=2 * 2**20)]
    text = "".join(words)[:LARGE_BYTES].encode()
    return zstandard.compress(body(2**10).replace(b"x" * 700, text))


SESSION = "session-id: 0199"  # as Codex sends it with a large body
LOADS: dict[str, Callable[[], Load]] = {
    "short": lambda: Repeated(body(1024), SHORT),
    "long": lambda: Repeated(body(1024), LONG, clients=4, per=LONG_EVENTS),
    "paced": lambda: Paced(body(1024), per=105),
    "chat": lambda: Repeated(chat_body(), LONG, clients=4, per=LONG_EVENTS, path="/v1/chat/completions"),
    "body": lambda: Repeated(body(LARGE_BYTES), SHORT, clients=2, headers=(SESSION,)),
    "zstd": lambda: Repeated(packed_body(), SHORT, clients=2, headers=(SESSION, "content-encoding: zstd")),
}
