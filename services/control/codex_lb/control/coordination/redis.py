"""Leases that several controls grant from the same slots. Redis has the truth; each control follows it in memory.

Every operation is one script, which counts what it changed and publishes it. A control applies changes in the order of
their numbers, whether it hears of one in the answer to its own script or as news of another control; when one is missing,
or Redis was away, it reads the whole table anew. So selection asks memory, and only taking a slot asks Redis.

Redis may forget: a flush or a restart begins a new generation, in which nothing is granted until gateways have had the
time to announce what they hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import cast

import anyio
import structlog

from codex_lb.control.coordination.lease_counts import LeaseCounts
from codex_lb.control.coordination.lease_records import fence, lease_of, news_of, packed, table_of, take_in
from codex_lb.control.coordination.scripts import Reply, Scripts, script_of
from codex_lb.control.domain.ids import LeaseId, ReplicaId
from codex_lb.control.domain.lease import Lease
from codex_lb.control.errors import CoordinationUnavailableError
from codex_lb.kit.ids import new_id
from codex_lb.kit.redis import Argument, RedisAwayError, Script

WHOLE_TABLE_S = 2.0  # reading or freeing thousands of leases takes longer than one
FIRST_JOIN_S = 1.0  # at a start, so that the first turns need not wait; a Redis that is away keeps nobody from starting
NEWS_WITHIN_S = 1.0  # what another control did and Redis has published; it takes a millisecond
JOIN_AGAIN_S = 0.1  # between two attempts to reach a Redis that is away
OWED_MAX = 10_000  # ends that Redis could not be told; beyond, gateways announce anew, which frees as much

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

JOIN, TAKE, END, BEGUN, RECONCILE, RENEW, LAPSE = (
    script_of("leases", name) for name in ("join", "take", "end", "begun", "reconcile", "renew", "lapse")
)


class RedisLeases(LeaseCounts):
    """The Leases port for several control replicas. What it counts is as new as the last change that was heard of."""

    def __init__(self, scripts: Scripts, *, ttl_s: float, grace_s: float, is_first_start: bool) -> None:
        super().__init__()
        self._scripts = scripts
        self._ttl_ms = round(ttl_s * 1000)
        self._grace_ms = round(grace_s * 1000)
        self._is_first_start = is_first_start  # ever: no gateway can hold anything yet
        self._generation = ""  # empty: the table is not followed now, so nothing can be granted
        self._last_generation = ""
        self._change = 0  # the newest one applied
        self._moved = asyncio.Event()
        self._following = anyio.CancelScope()
        self._owed: dict[LeaseId, int] = {}  # leases with their fences that ended while Redis could not be told
        self._owed_begun: set[LeaseId] = set()
        self._owes_a_word = False  # a gateway announced what it holds, and Redis could not be told
        self._loss_listeners: list[Callable[[], None]] = []
        scripts.link.breaker.on_open(self.follow_anew)

    def on_loss(self, listener: Callable[[], None]) -> None:
        """Tells a listener when gateways must announce anew what they hold."""
        self._loss_listeners.append(listener)

    @property
    def position(self) -> tuple[str, int]:
        """Generation and newest change that are known here; no generation while the table is not followed."""
        return self._generation, self._change

    async def following(self) -> None:
        """Returns once the table is followed."""
        while not self._generation:
            self._moved.clear()
            await self._moved.wait()

    async def take(
        self, lease: Lease, owner: ReplicaId, *, slots: int, create_slots: int = 0, key_slots: int = 0
    ) -> bool:
        """Takes a slot, or says that there is none. Raises CoordinationUnavailableError."""
        caps = slots, create_slots, key_slots
        try:
            reply = await self._run(TAKE, lease.lease_id, owner, *packed(lease)[1:], *caps, self._ttl_ms)
        except (CoordinationUnavailableError, asyncio.CancelledError):
            self._owe(lease.lease_id, lease.epoch)  # it may be taken all the same
            raise
        if reply.how == "closed":
            wait_s = cast("int", reply.rest[0]) / 1000
            raise CoordinationUnavailableError(f"Gateways have {wait_s:.1f} s left to announce what they hold.")
        return reply.how == "ok"

    async def end(self, lease_id: LeaseId, *, epoch: int) -> Lease | None:
        """Frees the slot, as soon as Redis can be told. A fence that is not the lease's own ends nothing."""
        try:
            reply = await self._run(END, lease_id, fence(epoch))
        except CoordinationUnavailableError:
            self._owe(lease_id, epoch)
            return None
        return lease_of(reply.rest[0]) if reply.how == "ok" else None

    async def begun(self, lease_ids: Sequence[LeaseId]) -> None:
        """Upstream has begun to answer these."""
        try:
            await self._run(BEGUN, *lease_ids)
        except CoordinationUnavailableError:
            self._owed_begun.update(one for one in lease_ids if one in self._held)

    async def reconcile(self, owner: ReplicaId, held: Sequence[Lease]) -> list[Lease]:
        """Takes a gateway's word for what it holds; while Redis is away, it is asked to give it again later."""
        arguments = [argument for lease in held for argument in packed(lease)]
        try:
            reply = await self._run(RECONCILE, owner, self._ttl_ms, *arguments, deadline_s=WHOLE_TABLE_S)
        except CoordinationUnavailableError:
            self._owes_a_word = True
            return []
        return leases_in(reply)

    async def renew(self, owner: ReplicaId, *, now: datetime) -> bool:  # noqa: ARG002 - Redis's own time counts
        """A gateway was heard. While Redis is away it counts as known: that time is not held against it."""
        try:
            reply = await self._run(RENEW, owner, self._ttl_ms)
        except CoordinationUnavailableError:
            return True
        return reply.how == "ok"

    async def lapse(self, *, now: datetime) -> list[Lease]:  # noqa: ARG002 - Redis's own time counts
        """Removes what silent gateways held; each lease is returned to one control alone."""
        lapsed: list[Lease] = []
        try:
            while (reply := await self._run(LAPSE, self._ttl_ms, deadline_s=WHOLE_TABLE_S)).how == "ok":
                lapsed += leases_in(reply)
            await self._pay()
        except CoordinationUnavailableError:
            return lapsed  # the rest at the next tick
        return lapsed

    async def run(self) -> None:
        """Follows the table for as long as control lives."""
        while True:
            with anyio.CancelScope() as self._following:
                await self._follow()
            self._generation = ""

    async def _follow(self) -> None:
        link = self._scripts.link
        try:
            async with link.listening(self._scripts.prefix + "news") as messages:
                await self._join()
                async for message in messages:
                    if not self._hear(message):
                        return
        except (RedisAwayError, CoordinationUnavailableError):
            self._generation = ""
            await anyio.sleep(JOIN_AGAIN_S)

    def follow_anew(self) -> None:
        """Something was missed, or may have been."""
        self._generation = ""
        self._following.cancel()

    async def _join(self) -> None:
        """Reads the whole table; what is published from here on follows on it."""
        reply = await self._scripts.run(
            JOIN,
            "",
            new_id("generation"),
            await self._run_id(),
            0 if self._is_first_start else self._grace_ms,
            self._ttl_ms,
            deadline_s=WHOLE_TABLE_S,
        )
        self._is_first_start = False
        table = table_of(reply.rest)
        for account_id, epoch in table.last_granted:
            self.granted(account_id, epoch)
        self.replace(table.held, table.being_created)
        self._generation, self._change = table.generation, reply.change
        self._moved.set()
        if self._last_generation not in {"", table.generation}:
            log.warning("redis has forgotten who holds what; gateways announce it anew")
            self._tell_loss()
        self._last_generation = table.generation

    async def _run_id(self) -> str:
        """Which run of the server this is: one that restarted may have an old table on its disk."""
        told = await self._scripts.link.command("INFO", "server")
        if not isinstance(told, dict):
            raise RedisAwayError("Redis does not say which run of it this is.")
        return str(told["run_id"])

    async def _run(self, script: Script, *arguments: Argument, deadline_s: float | None = None) -> Reply:
        """One operation, its changes applied here before it returns. Raises CoordinationUnavailableError."""
        generation = self._generation
        if not generation:
            raise CoordinationUnavailableError("Redis is away, or has just come back.")
        try:
            reply = await self._scripts.run(script, generation, *arguments, deadline_s=deadline_s)
        except RedisAwayError as error:
            raise CoordinationUnavailableError(str(error)) from error
        if reply.how == "lost":
            self.follow_anew()
            raise CoordinationUnavailableError("Redis has forgotten who holds what.")
        await self._reach(generation, reply)
        return reply

    async def _reach(self, generation: str, reply: Reply) -> None:
        """Waits for what other controls changed before."""
        if reply.change == self._change + 1 and reply.news and generation == self._generation:
            self._hear(reply.news)
        with anyio.move_on_after(NEWS_WITHIN_S) as waiting:
            while generation == self._generation and self._change < reply.change:
                self._moved.clear()
                await self._moved.wait()
        if waiting.cancelled_caught:
            self.follow_anew()

    def _hear(self, message: bytes) -> bool:
        """Applies news that are the next; False when some are missing, or of another generation."""
        news = news_of(message)
        if news.generation != self._generation:
            return False
        if news.number <= self._change:
            return True
        if news.number > self._change + 1:
            return False
        take_in(self, news)
        self._change = news.number
        self._moved.set()
        return True

    def _owe(self, lease_id: LeaseId, epoch: int) -> None:
        if len(self._owed) >= OWED_MAX:
            self._owed.clear()
            self._owes_a_word = True
        self._owed[lease_id] = epoch

    async def _pay(self) -> None:
        """Tells Redis what it could not be told."""
        if self._owes_a_word:
            self._owes_a_word = False
            self._tell_loss()
        while self._owed:
            lease_id, epoch = next(iter(self._owed.items()))
            await self._run(END, lease_id, fence(epoch))
            self._owed.pop(lease_id, None)
        if self._owed_begun:
            owed = list(self._owed_begun)
            await self._run(BEGUN, *owed)
            self._owed_begun.difference_update(owed)

    def _tell_loss(self) -> None:
        for listener in self._loss_listeners:
            listener()


def leases_in(reply: Reply) -> list[Lease]:
    """The leases whose records a script returned, in the order in which they were granted."""
    leases = (lease_of(record) for record in cast("list[object]", reply.rest[0]))
    return sorted((lease for lease in leases), key=lambda lease: lease.epoch)


@asynccontextmanager
async def open_redis_leases(
    scripts: Scripts, *, ttl_s: float, grace_s: float, is_first_start: bool = False
) -> AsyncIterator[RedisLeases]:
    """Follows the table inside the `with`.

    `grace_s`: how long gateways have to announce what they hold when Redis has forgotten it.
    """
    leases = RedisLeases(scripts, ttl_s=ttl_s, grace_s=grace_s, is_first_start=is_first_start)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leases.run)
        with anyio.move_on_after(FIRST_JOIN_S):
            await leases.following()
        try:
            yield leases
        finally:
            tasks.cancel_scope.cancel()
