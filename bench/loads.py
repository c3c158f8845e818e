"""The loads by name: what clients ask for again and again, and by what its cost is counted."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from string import ascii_lowercase
from typing import Protocol

import zstandard

from bench.load import Seen, closed_loop, together
from bench.subjects import Subject

SHORT = "5 120 0"  # five deltas, and five events around them
LONG, LONG_EVENTS = "500 200 0", 505
CLIENTS = 16
PACED_STREAMS, PACED_GAP_MS = 50, 20
USUAL_BYTES, LARGE_BYTES = 200 * 2**10, 8 * 2**20
KNOWN_WITHIN_S = 1.0  # after a turn, control knows whose the conversation is
VOCABULARY = 5000  # words of the texts in it
ENDS = ("\n", ":\n", ' = "x"\n', "()\n", "\n\n")  # of their lines


class Load(Protocol):
    """Something that subjects are asked for."""

    @property
    def per(self) -> int:
        """The events of a turn when an event is what counts, else 1."""

    async def begin(self, subject: Subject) -> None:
        """What comes before, once."""

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
    before: bytes = b""  # what the conversation was asked earlier: what thoughts it holds are then that account's

    async def begin(self, subject: Subject) -> None:
        if self.before:
            asked = subject.request(self.before, self.answer, *self.headers)
            await closed_loop(subject.url, asked, clients=1, turns=1)
            await asyncio.sleep(KNOWN_WITHIN_S)

    async def run(self, subject: Subject, seconds: float) -> Seen:
        asked = subject.request(self.data, self.answer, *self.headers, path=self.path)
        return await closed_loop(subject.url, asked, clients=self.clients, seconds=seconds)


@dataclass(frozen=True, slots=True)
class Paced:
    """Streams side by side whose events come one by one."""

    data: bytes
    per: int

    async def begin(self, subject: Subject) -> None:
        """Nothing."""

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


def conversation(size: int) -> bytes:
    """About so many bytes of a conversation of Codex's: thoughts that are sealed, commands, and what they printed."""
    chance = Random(1)
    words = ["".join(chance.choices(ascii_lowercase + "_", k=chance.randint(2, 12))) for _ in range(VOCABULARY)]
    often = list(accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))  # as words are in texts and programs
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Mend the tests."}]}
    items: list[dict[str, object]] = [message]
    room = size
    while room > 0:
        said = (chance.choices(words, cum_weights=often, k=8) for _ in range(chance.randint(10, 250)))
        lines = [" " * 4 * chance.randint(0, 3) + " ".join(line) + chance.choice(ENDS) for line in said]
        thought = {"type": "reasoning", "summary": [], "encrypted_content": b64encode(chance.randbytes(1200)).decode()}
        call = {"type": "function_call", "call_id": f"call_{room}", "name": "shell", "arguments": '{"command":["ls"]}'}
        output = {"type": "function_call_output", "call_id": f"call_{room}", "output": "".join(lines)}
        turn = [thought, call, output]
        items += turn
        room -= len(json.dumps(turn))
    asked = {"model": "gpt-5.5", "instructions": "Answer briefly.", "input": items, "stream": True, "store": False}
    return json.dumps(asked, separators=(",", ":")).encode()


def conversing(size: int, *headers: str, clients: int, pack: Callable[[bytes], bytes] = bytes) -> Repeated:
    """A conversation, with the header by which Codex names it."""
    named = (f"session-id: 0199-{size}", *headers)
    return Repeated(pack(conversation(size)), SHORT, clients=clients, headers=named, before=pack(body(1024)))


LOADS: dict[str, Callable[[], Load]] = {
    "short": lambda: Repeated(body(1024), SHORT),
    "long": lambda: Repeated(body(1024), LONG, clients=4, per=LONG_EVENTS),
    "paced": lambda: Paced(body(1024), per=105),
    "chat": lambda: Repeated(chat_body(), LONG, clients=4, per=LONG_EVENTS, path="/v1/chat/completions"),
    "codex": lambda: conversing(USUAL_BYTES, clients=CLIENTS),
    "body": lambda: conversing(LARGE_BYTES, clients=2),
    "zstd": lambda: conversing(LARGE_BYTES, "content-encoding: zstd", clients=2, pack=zstandard.compress),
}
