"""The ledger: writes what comes with every turn in few transactions, and answers when it is committed.

One task takes what has come together, and writes it as one transaction: a commit costs as much as some ten turns, so the
more turns end, the more of them it waits for. While the database is away it tries again for as long as the ledger is
open: gateways hold the originals, so waiting loses nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import structlog
from msgspec import Struct

from codex_lb.control.domain.evidence import Evidence
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.lease import Settlement, TurnReport
from codex_lb.control.errors import EntriesRefusedError, StoreConflictError, StoreUnavailableError
from codex_lb.control.usecases.ports import Store

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

ENTRIES_PER_TRANSACTION_MAX = 500  # some tens of milliseconds of writing, and of this process's one thread
ENTRIES_ARE_MANY = 4  # in `gathered_for_s`: of more than one turn
ENTRIES_WAITING_MAX = 10_000  # about 30 MiB; beyond it whoever writes waits


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things are waited for."""

    gathered_for_s: float = 0.050  # makes one commit out of what ends together; nobody waits for it but an ack
    gathered_for_max_s: float = 0.200  # the same while much comes in
    retry_first_s: float = 0.1
    retry_max_s: float = 5.0
    closes_within_s: float = 5.0  # a drain's last step; what is not committed then comes again from the gateways


@asynccontextmanager
async def open_ledger(store: Store, pace: Pace = Pace()) -> AsyncIterator[BatchWriter]:
    """Commits what was handed in before it closes, as far as the database answers."""
    writer = BatchWriter(store, pace)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        try:
            yield writer
        finally:
            await writer.close()


Fact = Settlement | TurnReport | tuple[AccountId, Evidence]


class BatchWriter:
    """Made by `open_ledger`."""

    def __init__(self, store: Store, pace: Pace) -> None:
        self._store = store
        self._pace = pace
        self._queue: deque[_Entry] = deque()
        self._has_come = asyncio.Event()  # something is in the queue, or nothing more will be
        self._has_room = asyncio.Event()
        self._is_closed = False
        self._calls: set[_Call] = set()
        self._waiting = 0
        self._is_database_away = False
        self._running = anyio.CancelScope(shield=True)  # outlives a cancelled service until `close` is done with it
        self._ended = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Entries accepted and not yet committed."""
        return self._waiting

    async def write(
        self,
        settlements: Sequence[Settlement],
        reports: Sequence[TurnReport],
        evidence: Sequence[tuple[AccountId, Evidence]],
    ) -> None:
        """Returns once all of it is committed; whoever is cancelled meanwhile leaves it to be committed."""
        facts: list[Fact] = [*settlements, *reports, *evidence]
        if not facts:
            return
        call = _Call(left=len(facts))
        self._calls.add(call)
        try:
            for fact in facts:
                if self._is_closed or len(self._queue) >= ENTRIES_WAITING_MAX:
                    await self._room()
                self._queue.append(_Entry(fact, call))
                self._waiting += 1
                self._has_come.set()
            await call.done.wait()
        finally:
            self._calls.discard(call)
        if call.left:
            raise StoreUnavailableError("the ledger closed before the database answered")
        if call.refused:
            raise _refusal(call.refused)

    async def run(self) -> None:
        """The one task that writes."""
        try:
            with self._running:
                while self._queue or not self._is_closed:
                    if self._queue:
                        await self._gather()
                        await self._commit(self._gathered())
                    else:
                        self._has_come.clear()
                        await self._has_come.wait()
        finally:
            self._accept_nothing_more()
            self._ended.set()
            for call in self._calls:
                call.done.set()

    async def close(self) -> None:
        """Accepts nothing more, and waits a bounded time for the rest to be committed."""
        self._accept_nothing_more()
        with anyio.move_on_after(self._pace.closes_within_s, shield=True):
            await self._ended.wait()
        if not self._ended.is_set():
            log.warning("ledger closed before all was committed; gateways will send it again", entries=self._waiting)
        self._running.cancel()

    def _accept_nothing_more(self) -> None:
        self._is_closed = True
        self._has_come.set()
        self._has_room.set()

    async def _room(self) -> None:
        """Returns once there is room in the queue. Raises StoreUnavailableError when the ledger is closed."""
        while not self._is_closed and len(self._queue) >= ENTRIES_WAITING_MAX:
            self._has_room.clear()
            await self._has_room.wait()
        if self._is_closed:
            raise StoreUnavailableError("the ledger is closed")

    async def _gather(self) -> None:
        """Waits for more to come, a little longer while much does."""
        pace = self._pace
        if len(self._queue) < ENTRIES_PER_TRANSACTION_MAX:
            await asyncio.sleep(pace.gathered_for_s)
        if ENTRIES_ARE_MANY <= len(self._queue) < ENTRIES_PER_TRANSACTION_MAX:
            await asyncio.sleep(pace.gathered_for_max_s - pace.gathered_for_s)

    def _gathered(self) -> list[_Entry]:
        number = min(len(self._queue), ENTRIES_PER_TRANSACTION_MAX)
        self._has_room.set()
        return [self._queue.popleft() for _ in range(number)]

    async def _commit(self, entries: Sequence[_Entry]) -> None:
        """In one transaction; or in two halves, and so on, when one of the entries can never be stored."""
        try:
            await self._commit_together(entries)
        except StoreConflictError as error:
            if len(entries) > 1:
                half = len(entries) // 2
                await self._commit(entries[:half])
                await self._commit(entries[half:])
                return
            log.warning("ledger entry cannot be stored", why=str(error))
            entries[0].call.refused.append(entries[0].fact)
        self._waiting -= len(entries)
        for entry in entries:
            entry.call.finished_one()

    async def _commit_together(self, entries: Sequence[_Entry]) -> None:
        settlements: list[Settlement] = []
        reports: list[TurnReport] = []
        evidence: list[tuple[AccountId, Evidence]] = []
        for entry in entries:
            match entry.fact:
                case Settlement() as settlement:
                    settlements.append(settlement)
                case TurnReport() as report:
                    reports.append(report)
                case observed:
                    evidence.append(observed)
        pause_s = self._pace.retry_first_s
        while True:
            try:
                async with self._store.begin(writing=True) as unit:
                    await unit.turns.record(settlements, reports)
                    await unit.accounts.append_evidence(evidence)
            except StoreUnavailableError as error:
                self._note_database(is_away=True, why=str(error))
            else:
                self._note_database(is_away=False)
                return
            await anyio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._pace.retry_max_s)

    def _note_database(self, *, is_away: bool, why: str = "") -> None:
        if is_away and not self._is_database_away:
            log.warning("ledger waits for the database", why=why)
        if not is_away and self._is_database_away:
            log.info("database answers the ledger again", entries=self._waiting)
        self._is_database_away = is_away


@dataclass(eq=False, slots=True)
class _Call:
    """One call of `write`, done when nothing of it is left."""

    left: int
    refused: list[Fact] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def finished_one(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.done.set()


class _Entry(Struct, frozen=True):
    fact: Fact
    call: _Call


def _refusal(facts: Sequence[Fact]) -> EntriesRefusedError:
    settlements = [fact for fact in facts if isinstance(fact, Settlement)]
    reports = [fact for fact in facts if isinstance(fact, TurnReport)]
    return EntriesRefusedError(
        lease_ids=frozenset(settlement.lease.lease_id for settlement in settlements),
        turn_ids=frozenset(report.turn_id for report in reports),
        evidence=len(facts) - len(settlements) - len(reports),
    )
