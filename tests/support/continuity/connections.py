"""What the gateway holds of upstream: the answer to a request, and a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from codex_lb.gateway.outcome import Blame, Fault
from codex_lb.gateway.upstream.http import BrokenConnectionError
from codex_lb.gateway.upstream.websocket import ABNORMAL, Closed
from tests.support.continuity.accounts import Call, SimAccount
from tests.support.simulator import faults
from tests.support.simulator.answers import Event
from tests.support.simulator.prompts import JsonObject

TERMINAL = ("response.completed", "response.incomplete", "response.failed", "error")


class Behind(Protocol):
    """Upstream behind a connection."""

    async def begun(self, call: Call, body: JsonObject, known: frozenset[str]) -> AsyncIterator[Event | Closed]:
        """The events of an answer. Raises RefusedError or BrokenConnectionError."""
        ...

    def called(self, account: SimAccount) -> Call:
        """A new call."""
        ...


@dataclass
class FastAnswer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    events: AsyncIterator[Event | Closed] | None = None
    is_at_end: bool = False

    async def chunk(self) -> bytes:
        """One event, or what is left of the body."""
        if self.events is None:
            body, self.body, self.is_at_end = self.body, b"", True
            return body
        shown = await anext(self.events, None)
        self.is_at_end = shown is None
        if isinstance(shown, Closed):
            if shown.code == ABNORMAL:
                raise BrokenConnectionError(Fault("stream_incomplete", Blame.UPSTREAM, "broke off"))
            return b""
        return b"" if shown is None else shown.sse()

    async def read(self, bytes_max: int) -> bytes:
        """The body whole."""
        return (await self.chunk())[:bytes_max]


class FastSocket:
    """A WebSocket: turn after turn, each of which may continue the ones before."""

    def __init__(self, upstream: Behind, account: SimAccount) -> None:
        self._upstream = upstream
        self._account = account
        self._known: set[str] = set()
        self._frames: asyncio.Queue[str] = asyncio.Queue()
        self._running: AsyncIterator[Event | Closed] | None = None
        self._call: Call | None = None
        self.headers: Mapping[str, str] = {}
        self.is_open = True

    async def send(self, frame: str) -> None:
        """Takes a frame in. Raises BrokenConnectionError."""
        if not self.is_open:
            raise BrokenConnectionError(Fault("upstream_unavailable", Blame.UPSTREAM, "the socket is closed"))
        self._frames.put_nowait(frame)

    async def receive(self) -> str | Closed:
        """The next event of the turn that runs, or of the one that comes."""
        if not self.is_open:
            return Closed(ABNORMAL, "")
        if self._running is None:
            frame = await self._frames.get()
            refusal = await self._begin(msgspec.json.decode(frame))
            if refusal is not None:
                return refusal
        assert self._running is not None
        shown = await anext(self._running, None)
        if shown is None:
            self._running = None
            return await self.receive()
        if isinstance(shown, Closed):
            self.is_open, self._running = False, None
            return shown
        if shown.type in TERMINAL:
            self._running = None
            call = self._call
            if call is not None and call.is_completed and call.answer is not None:
                self._known.add(call.answer.response_id)
        return shown.data.decode()

    async def close(self) -> None:
        """Says goodbye."""
        self.is_open = False

    async def _begin(self, body: JsonObject) -> str | Closed | None:
        call = self._call = self._upstream.called(self._account)
        try:
            self._running = await self._upstream.begun(call, body, frozenset(self._known))
        except faults.RefusedError as refused:
            fault = refused.fault
            return msgspec.json.encode({"type": "error", "status": fault.status, "error": fault.error}).decode()
        except BrokenConnectionError:
            self.is_open = False
            return Closed(ABNORMAL, "")
        return None
