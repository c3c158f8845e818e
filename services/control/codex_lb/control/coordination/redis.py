"""Leases that several controls grant from the same slots and the same limits, over Redis.

What a lease reserves of its key's limits is taken and given back in the same step as its slot, so no reservation outlives
its lease, whoever is killed when. What Redis could not be told is told as soon as it can be.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import cast

import anyio
import structlog
from msgspec.structs import replace

from codex_lb.control.coordination.following import WHOLE_TABLE_S, FollowedTable
from codex_lb.control.coordination.lease_records import instant_of, lease_of, packed, reservation_of, reserved
from codex_lb.control.coordination.limit_records import (
    packed_end,
    packed_ending,
    packed_reserving,
    packed_stored,
    use_of,
)
from codex_lb.control.coordination.owed import Owed
from codex_lb.control.coordination.redis_budgets import REVISE, RedisBudgets
from codex_lb.control.coordination.scripts import Reply, Scripts, script_of
from codex_lb.control.coordination.unstored import Unstored
from codex_lb.control.domain.ids import ApiKeyId, LeaseId, ReplicaId
from codex_lb.control.domain.lease import Lease
from codex_lb.control.domain.limit import Limit
from codex_lb.control.errors import CoordinationUnavailableError
from codex_lb.control.usecases.lease_ports import (
    FREE,
    Ending,
    NoSlot,
    Outdated,
    Shortfall,
    Taking,
    Terms,
    Uncounted,
)
from codex_lb.control.usecases.limit_ports import BudgetUse, KeyUse
from codex_lb.kit.portions import portions
from codex_lb.kit.redis import Argument

FIRST_JOIN_S = 1.0  # at a start, so that the first turns need not wait; a Redis that is away keeps nobody from starting
ENDINGS_AT_ONCE = 100  # in one script: a few milliseconds
CLAIMED_FOR_MS = 10_000  # what lapsed is recorded by then, or another control does it
MISSED_FOR_MS = 3_000  # what a gateway did not announce keeps its reservation: its settlement may be under way
STORING_MS = 60_000  # what was settled is stored by then, or neither its control nor its gateway is there any more

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

TAKE, END, STORED, BEGUN, RECONCILE, RENEW, LAPSE, ANEW = (
    script_of("budgets", "leases", name)
    for name in ("take", "end", "stored", "begun", "reconcile", "renew", "lapse", "anew")
)


class RedisLeases(FollowedTable):
    """The Leases port for several control replicas."""

    def __init__(self, scripts: Scripts, *, ttl_s: float, grace_s: float, is_first_start: bool) -> None:
        super().__init__(scripts, ttl_s=ttl_s, grace_s=grace_s, is_first_start=is_first_start)
        self.budgets = RedisBudgets(self)
        self._owed = Owed()
        self._unstored = Unstored()

    async def take(
        self, lease: Lease, owner: ReplicaId, *, slots: int, create_slots: int = 0, terms: Terms = FREE
    ) -> Taking:
        """Takes a slot and what the terms say, or says why not. Raises CoordinationUnavailableError."""
        arguments = [lease.lease_id, owner, *packed(lease)[1:], slots, create_slots, terms.slots, self._ttl_ms]
        arguments += [terms.revision, *packed_reserving(terms.reserving)]
        try:
            reply = await self.run(TAKE, *arguments)
        except (CoordinationUnavailableError, asyncio.CancelledError):
            self._owed.end(lease.lease_id, lease.epoch)  # it may be taken all the same
            raise
        return taking_of(reply, lease)

    async def end(self, lease_id: LeaseId, *, epoch: int) -> Lease | None:
        """Frees all that it has, as soon as Redis can be told. A fence that is not the lease's own ends nothing."""
        try:
            reply = await self.run(END, *packed_end(lease_id, epoch))
        except CoordinationUnavailableError:
            self._owed.end(lease_id, epoch)
            return None
        [told] = cast("list[object]", reply.rest[0])
        return lease_of(told) if told else None

    async def settle(self, endings: Sequence[Ending], *, now: datetime) -> Sequence[KeyUse]:
        """Frees slots and counts what leases used, as soon as Redis can be told."""
        self._unstored.add(endings, now)
        newest: dict[str, KeyUse] = {}
        for portion in portions(endings, ENDINGS_AT_ONCE):
            try:
                uses = await self._tell_ends(portion)
            except CoordinationUnavailableError:
                self._owed.settle(portion)
            except asyncio.CancelledError:
                self._owed.settle(portion)
                raise
            else:
                newest.update((use.api_key_id, use) for use in uses)
        return list(newest.values())

    async def recorded(self, ended: Iterable[tuple[LeaseId, bool]], *, now: datetime) -> None:
        """The ledger has these; Redis is told of those that it counts by itself."""
        await self._record(self._unstored.store(ended, now))

    async def begun(self, lease_ids: Sequence[LeaseId]) -> None:
        """Upstream has begun to answer these."""
        try:
            await self.run(BEGUN, *lease_ids)
        except CoordinationUnavailableError:
            self._owed.begun.update(one for one in lease_ids if one in self._held)

    async def reconcile(self, owner: ReplicaId, held: Sequence[Lease]) -> list[Lease]:
        """Takes a gateway's word for what it holds; while Redis is away, it is asked to give it again later."""
        arguments: list[Argument] = [owner, self._ttl_ms, MISSED_FOR_MS]
        for lease in held:
            arguments += (*packed(lease), len(lease.reservation))
            for one in lease.reservation:
                arguments += reserved(one)
        try:
            reply = await self.run(RECONCILE, *arguments, deadline_s=WHOLE_TABLE_S)
        except CoordinationUnavailableError:
            self._owed.is_a_word = True
            return []
        return leases_in(reply)

    async def renew(self, owner: ReplicaId, *, now: datetime) -> bool:  # noqa: ARG002 - Redis's own time counts
        """A gateway was heard. While Redis is away it counts as known: that time is not held against it."""
        try:
            reply = await self.run(RENEW, owner, self._ttl_ms)
        except CoordinationUnavailableError:
            return True
        return reply.how == "ok"

    async def lapse(self, *, now: datetime) -> list[Lease]:
        """Removes what silent gateways held; each lease is given to one control alone, until that had time to record it."""
        self._owed.settle(self._unstored.overdue(now))
        lapsed: list[Lease] = []
        spans = self._ttl_ms, CLAIMED_FOR_MS, STORING_MS
        try:
            while (reply := await self.run(LAPSE, *spans, deadline_s=WHOLE_TABLE_S)).how == "ok":
                lapsed += leases_in(reply)
            await self._pay()
        except CoordinationUnavailableError:
            return lapsed  # the rest at the next tick
        return lapsed

    async def retell(self, api_key_id: ApiKeyId, limits: Sequence[Limit]) -> None:
        """A key has limits now that had none: what has just ended without them counts in them too."""
        unstored, stored = self._unstored.uncounted(api_key_id) if limits else ((), ())
        for missed in (unstored, stored):
            endings = [replace(one, limits=tuple(limits)) for one in missed]
            if endings:
                await self.settle(endings, now=endings[0].lease.granted_at)
        if stored:
            await self.recorded([(one.lease.lease_id, one.is_final) for one in stored], now=stored[0].lease.granted_at)

    def owe_revision(self, api_key_id: ApiKeyId, revision: int) -> None:
        """A key was changed, and Redis could not be told."""
        self._owed.revisions[api_key_id] = revision

    def forgotten(self) -> None:
        """What has ended and the ledger may not have is counted by nobody any more."""
        self._owed.settle(self._unstored.all())

    async def _tell_ends(self, endings: Sequence[Ending], *, is_again: bool = False) -> list[KeyUse]:
        """How the keys stand whose limits Redis counts."""
        reply = await self.run(
            END, *(argument for one in endings for argument in packed_ending(one, is_again=is_again))
        )
        uses: list[KeyUse] = []
        for ending, told in zip(endings, cast("list[object]", reply.rest[1]), strict=True):
            if told:
                self._unstored.counted(ending)
                uses.append(use_of(ApiKeyId(ending.lease.api_key_id), ending.limits, told))
        return uses

    async def _record(self, endings: Sequence[Ending]) -> None:
        for portion in portions(endings, ENDINGS_AT_ONCE):
            if any((one.lease.lease_id, one.is_final) in self._owed.settled for one in portion):
                self._owed.record(portion)  # one after the other
                continue
            try:
                await self.run(STORED, *(x for one in portion for x in packed_stored(one)), reaches=False)
            except CoordinationUnavailableError:
                self._owed.record(portion)

    async def _pay(self) -> None:
        """Tells Redis what it could not be told."""
        owed = self._owed
        if owed.is_everything:
            owed.is_everything = False
            await self.run(ANEW, reaches=False)
            self.follow_anew()
            return
        if owed.is_a_word:
            owed.is_a_word = False
            self.tell_loss()
        for end in list(owed.plain.values()):
            await self.run(END, *packed_end(end.lease_id, end.epoch))
            owed.plain.pop(end.lease_id, None)
        for portion in portions(list(owed.settled.values()), ENDINGS_AT_ONCE):
            await self._tell_ends(portion, is_again=True)
            for one in portion:
                owed.settled.pop((one.lease.lease_id, one.is_final), None)
        for portion in portions(list(owed.recorded.values()), ENDINGS_AT_ONCE):
            await self.run(STORED, *(argument for one in portion for argument in packed_stored(one)), reaches=False)
            for one in portion:
                owed.recorded.pop((one.lease.lease_id, one.is_final), None)
        if owed.begun:
            begun = list(owed.begun)
            await self.run(BEGUN, *begun)
            owed.begun.difference_update(begun)
        for api_key_id, revision in list(owed.revisions.items()):
            await self.run(REVISE, api_key_id, revision, reaches=False)
            owed.revisions.pop(api_key_id, None)


def taking_of(reply: Reply, lease: Lease) -> Taking:
    """What became of the wish for a lease. Raises CoordinationUnavailableError while nothing may be granted."""
    match reply.how:
        case "ok":
            granted_at, reservation = cast("tuple[int, list[bytes | int]]", reply.rest)
            if not reservation:
                return lease
            return replace(lease, granted_at=instant_of(granted_at), reservation=reservation_of(reservation))
        case "full":
            return NoSlot()
        case "short":
            limit, used, reserved = cast("tuple[bytes, int, int]", reply.rest)
            return Shortfall(limit.decode(), BudgetUse(used, reserved))
        case "uncounted":
            return Uncounted()
        case "outdated":
            return Outdated()
        case "closed":
            wait_s = cast("int", reply.rest[0]) / 1000
            raise CoordinationUnavailableError(f"Gateways have {wait_s:.1f} s left to announce what they hold.")
        case _:
            raise ValueError(f"no answer to the wish for a lease: {reply.how}")


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
        tasks.start_soon(leases.follow)
        with anyio.move_on_after(FIRST_JOIN_S):
            await leases.following()
        try:
            yield leases
        finally:
            tasks.cancel_scope.cancel()
