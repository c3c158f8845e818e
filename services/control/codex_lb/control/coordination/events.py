"""Events between controls over Redis's publish and subscribe, several to a message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias, assert_never, get_args

import anyio
import msgspec

from codex_lb.control.domain.continuity import Failure
from codex_lb.control.domain.evidence import Evidence
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.lease import Anchor
from codex_lb.control.domain.refresh import Task
from codex_lb.control.usecases.event_ports import (
    Bound,
    Changed,
    Event,
    Failed,
    Hurried,
    Observed,
    Remembered,
    Subject,
    Unbound,
)
from codex_lb.kit.redis import RedisAwayError, RedisLink

TOGETHER_S = 0.02  # events of this time share a message; a turn makes about five
WAITING_MAX = 10_000  # events kept while Redis is away; beyond, everybody reads everything anew
EVENTS_MAX = 500  # in one message: about 100 KB
AGAIN_S = 0.2  # between two attempts to reach a Redis that is away

EVIDENCE: dict[str, type[Evidence]] = {kind.__name__: kind for kind in get_args(Evidence)}


class ChangedOnWire(msgspec.Struct, array_like=True, tag="changed"):
    subject: str
    subject_id: str


class ObservedOnWire(msgspec.Struct, array_like=True, tag="observed"):
    account_id: str
    kind: str
    evidence: msgspec.Raw


class BoundOnWire(msgspec.Struct, array_like=True, tag="bound"):
    keys: tuple[bytes, ...]
    account_id: str


class UnboundOnWire(msgspec.Struct, array_like=True, tag="unbound"):
    keys: tuple[bytes, ...]


class RememberedOnWire(msgspec.Struct, array_like=True, tag="remembered"):
    anchors: tuple[Anchor, ...]
    account_id: str


class FailedOnWire(msgspec.Struct, array_like=True, tag="failed"):
    failure: Failure


class HurriedOnWire(msgspec.Struct, array_like=True, tag="hurried"):
    task: Task


OnWire: TypeAlias = (
    HurriedOnWire | ChangedOnWire | ObservedOnWire | BoundOnWire | UnboundOnWire | RememberedOnWire | FailedOnWire
)


class Message(msgspec.Struct, array_like=True):
    """Who tells, and what."""

    sender: str
    events: list[OnWire]


_encode = msgspec.msgpack.Encoder().encode
_message = msgspec.msgpack.Decoder(Message)


class RedisEvents:
    """The Events port. What one tells is not told back to it."""

    def __init__(self, link: RedisLink, *, channel: str, sender: str) -> None:
        self._link = link
        self._channel = channel
        self._sender = sender
        self._waiting: deque[OnWire] = deque()
        self._has_waiting = asyncio.Event()

    def publish(self, event: Event) -> None:
        """Tells the others, soon."""
        if len(self._waiting) >= WAITING_MAX:
            self._waiting.clear()
            event = Changed(Subject.EVERYTHING)
        self._waiting.append(to_wire(event))
        self._has_waiting.set()

    async def follow(
        self, take_in: Callable[[Event], Awaitable[None]], read_anew: Callable[[], Awaitable[None]]
    ) -> None:
        """Hands over what others tell."""
        while True:
            try:
                async with self._link.listening(self._channel) as messages:
                    await read_anew()
                    async for told in messages:
                        message = _message.decode(told)
                        if message.sender != self._sender:
                            for event in message.events:
                                await take_in(from_wire(event))
            except RedisAwayError:
                await anyio.sleep(AGAIN_S)

    async def run(self) -> None:
        """Sends what waits, for as long as control lives."""
        while True:
            await self._has_waiting.wait()
            await anyio.sleep(TOGETHER_S)
            self._has_waiting.clear()
            while self._waiting:
                portion = [self._waiting.popleft() for _ in range(min(EVENTS_MAX, len(self._waiting)))]
                try:
                    await self._link.command("PUBLISH", self._channel, _encode(Message(self._sender, portion)))
                except RedisAwayError:
                    self._waiting.extendleft(reversed(portion))
                    await anyio.sleep(AGAIN_S)


def to_wire(event: Event) -> OnWire:
    """An event as it travels."""
    match event:
        case Changed():
            return ChangedOnWire(event.subject.value, event.subject_id)
        case Observed(account_id, evidence):
            return ObservedOnWire(account_id, type(evidence).__name__, msgspec.Raw(_encode(evidence)))
        case Bound():
            return BoundOnWire(event.keys, event.account_id)
        case Unbound():
            return UnboundOnWire(event.keys)
        case Remembered():
            return RememberedOnWire(event.anchors, event.account_id)
        case Failed():
            return FailedOnWire(event.failure)
        case Hurried():
            return HurriedOnWire(event.task)
        case _:
            assert_never(event)


def from_wire(event: OnWire) -> Event:
    """An event as it came."""
    match event:
        case ChangedOnWire():
            return Changed(Subject(event.subject), event.subject_id)
        case ObservedOnWire():
            evidence = msgspec.msgpack.decode(event.evidence, type=EVIDENCE[event.kind])
            return Observed(AccountId(event.account_id), evidence)
        case BoundOnWire():
            return Bound(event.keys, AccountId(event.account_id))
        case UnboundOnWire():
            return Unbound(event.keys)
        case RememberedOnWire():
            return Remembered(event.anchors, AccountId(event.account_id))
        case FailedOnWire():
            return Failed(event.failure)
        case HurriedOnWire():
            return Hurried(event.task)
        case _:
            assert_never(event)
