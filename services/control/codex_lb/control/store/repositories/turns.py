"""What was spent: attempts and turns, each written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import TypeVar

from sqlalchemy import ColumnElement, Table, and_, func, literal_column, select, tuple_

from codex_lb.control.domain.ids import AccountId, TurnId
from codex_lb.control.domain.lease import Anchor, Decision, Outcome, Settlement, TurnReport
from codex_lb.control.domain.rollup import rolled_up
from codex_lb.control.domain.simulation import RecordedLease
from codex_lb.control.store.repositories.inserts import insert_into
from codex_lb.control.store.repositories.many_rows import ManyRows
from codex_lb.control.store.repositories.rollups import SqlRollups
from codex_lb.control.store.repositories.turn_rows import attempt_row, report_of, settlement_of, turn_row
from codex_lb.control.store.structures import all_restored, restored
from codex_lb.control.store.tables import attempts, turns
from codex_lb.control.store.transaction import Transaction

Ended = TypeVar("Ended", Settlement, TurnReport)

ANCHOR_ROWS_MAX = 5_000  # some ten milliseconds
PLACE_TYPES = (attempts.c.ended_at.type, attempts.c.lease_id.type)


class SqlTurns:
    """The port over `attempts` and `turns`."""

    def __init__(self, transaction: Transaction, rollups: SqlRollups) -> None:
        self._transaction = transaction
        self._rollups = rollups

    async def record(self, settlements: Sequence[Settlement], reports: Sequence[TurnReport]) -> int:
        return await self._record_attempts(settlements) + await self._record_turns(reports)

    async def report(self, turn_id: TurnId) -> TurnReport | None:
        rows = await self._transaction.run(select(turns).where(turns.c.turn_id == turn_id))
        row = rows.mappings().one_or_none()
        return report_of(row) if row is not None else None

    async def attempts(self, turn_id: TurnId) -> list[Settlement]:
        rows = await self._transaction.run(
            select(attempts).where(attempts.c.turn_id == turn_id).order_by(attempts.c.attempt, attempts.c.granted_at)
        )
        return [settlement_of(row) for row in rows.mappings()]

    async def granted(self, *, since: datetime, until: datetime, leases_max: int) -> tuple[list[RecordedLease], int]:
        of_period = and_(attempts.c.granted_at >= since, attempts.c.granted_at < until)
        columns = (attempts.c.account_id, attempts.c.granted_at, attempts.c.ended_at, attempts.c.decision)
        newest = select(*columns).where(of_period).order_by(attempts.c.granted_at.desc()).limit(leases_max)
        rows = (await self._transaction.run(newest)).all()
        total = (await self._transaction.run(select(func.count()).where(of_period))).scalar_one()
        leases = [RecordedLease(AccountId(a), at, ended, restored(d, Decision)) for a, at, ended, d in reversed(rows)]
        return leases, int(total)

    async def anchors(self, *, since: datetime) -> list[tuple[AccountId, Sequence[Anchor]]]:
        given = select(attempts.c.account_id, attempts.c.anchors, attempts.c.ended_at, attempts.c.lease_id)
        some = given.where(attempts.c.anchors.is_not(None)).order_by(attempts.c.ended_at, attempts.c.lease_id)
        place = tuple_(attempts.c.ended_at, attempts.c.lease_id)
        kept: list[tuple[AccountId, Sequence[Anchor]]] = []
        behind = attempts.c.ended_at >= since
        while True:  # in portions: a long log must not outlast a statement's deadline
            rows = (await self._transaction.run(some.where(behind).limit(ANCHOR_ROWS_MAX))).all()
            kept += ((AccountId(row.account_id), all_restored(row.anchors, Anchor)) for row in rows)
            if len(rows) < ANCHOR_ROWS_MAX:
                return kept
            last = tuple_(rows[-1].ended_at, rows[-1].lease_id, types=PLACE_TYPES)
            behind = and_(attempts.c.ended_at >= rows[-1].ended_at, place > last)

    async def _record_attempts(self, settlements: Sequence[Settlement]) -> int:
        once = _once(settlements, key=lambda one: one.lease.lease_id, fence=lambda one: one.lease.epoch)
        statement = _write_attempts(self._transaction.dialect)
        return len(await statement.written(self._transaction, [attempt_row(one) for one in once]))

    async def _record_turns(self, reports: Sequence[TurnReport]) -> int:
        """Writes lines, and keeps the sums true: exactly what is written is added, and what it replaces taken out."""
        once = _once(reports, key=lambda one: one.turn_id, fence=lambda one: one.turn_id)
        new = await _add_turns(self._transaction.dialect).written(self._transaction, [turn_row(one) for one in once])
        guesses = await self._guesses([one for one in once if one.turn_id not in new])
        better = [one for one in once if one.turn_id in guesses]
        await _write_turns(self._transaction.dialect).written(self._transaction, [turn_row(one) for one in better])
        written = [one for one in once if one.turn_id in new] + better
        await self._rollups.add(rolled_up(written, guesses.values()))
        return len(written)

    async def _guesses(self, reports: Sequence[TurnReport]) -> dict[str, TurnReport]:
        """Lines that were guessed and of which the truth has come, held so that nobody else replaces them too."""
        true_ids = [one.turn_id for one in reports if one.outcome is not Outcome.ABANDONED]
        if not true_ids:
            return {}
        guessed = select(turns).where(turns.c.turn_id.in_(true_ids), turns.c.outcome == Outcome.ABANDONED)
        rows = await self._transaction.run(guessed.order_by(turns.c.turn_id).with_for_update())
        return {row["turn_id"]: report_of(row) for row in rows.mappings()}


def _once(ended: Iterable[Ended], *, key: Callable[[Ended], str], fence: Callable[[Ended], object]) -> list[Ended]:
    """One per key, by the rule of `_truth_replaces`: a statement cannot meet the same row twice."""
    kept: dict[str, Ended] = {}
    for one in ended:
        held = kept.setdefault(key(one), one)
        is_guess = held.outcome is Outcome.ABANDONED and fence(held) == fence(one)
        if is_guess and one.outcome is not Outcome.ABANDONED:
            kept[key(one)] = one
    return list(kept.values())


@cache
def _write_attempts(dialect: str) -> ManyRows:
    # The epoch is the fence: the truth about another grant of the same id says nothing about this one.
    return _truth_replaces(attempts, dialect, key="lease_id", fence="epoch")


@cache
def _add_turns(dialect: str) -> ManyRows:
    return ManyRows(insert_into(turns, dialect).on_conflict_do_nothing().returning(turns.c.turn_id), dialect)


@cache
def _write_turns(dialect: str) -> ManyRows:
    return _truth_replaces(turns, dialect, key="turn_id", fence="turn_id")


def _truth_replaces(table: Table, dialect: str, *, key: str, fence: str) -> ManyRows:
    """Inserts what is new; what was guessed when its gateway vanished gives way to what the gateway says."""
    statement = insert_into(table, dialect)
    new = statement.excluded
    guess: ColumnElement[str] = literal_column(f"'{Outcome.ABANDONED.value}'")
    truth_replaces = statement.on_conflict_do_update(
        index_elements=[table.c[key]],
        set_={column.name: new[column.name] for column in table.columns if column.name != key},
        where=and_(table.c.outcome == guess, new["outcome"] != guess, table.c[fence] == new[fence]),
    )
    return ManyRows(truth_replaces.returning(table.c[key]), dialect)
