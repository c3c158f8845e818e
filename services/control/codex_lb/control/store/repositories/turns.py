"""What was spent: attempts and turns, each written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import TypeVar

from sqlalchemy import ColumnElement, Executable, RowMapping, Table, and_, func, literal_column, select, tuple_

from codex_lb.control.domain.ids import AccountId, LeaseId, TurnId
from codex_lb.control.domain.lease import (
    Anchor,
    Blame,
    Decision,
    Fault,
    Lease,
    Outcome,
    ReservedAmount,
    Settlement,
    Timings,
    TurnReport,
    Usage,
    Work,
)
from codex_lb.control.domain.rollup import rolled_up
from codex_lb.control.domain.simulation import RecordedLease
from codex_lb.control.store.repositories.inserts import insert_into
from codex_lb.control.store.repositories.rollups import SqlRollups
from codex_lb.control.store.structures import all_restored, restored, structure, structures, tagged, untagged
from codex_lb.control.store.tables import attempts, turns
from codex_lb.control.store.transaction import Transaction

Row = dict[str, object]
Ended = TypeVar("Ended", Settlement, TurnReport)

ANCHOR_ROWS_MAX = 5_000  # some ten milliseconds
PLACE_TYPES = (attempts.c.ended_at.type, attempts.c.lease_id.type)
ROWS_PER_STATEMENT_MAX = 50  # PostgreSQL keeps a plan for each number of rows, so there must not be many numbers


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
        return [_settlement_of(row) for row in rows.mappings()]

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
        written = await self._write(_write_attempts(self._transaction.dialect), [_attempt_row(one) for one in once])
        return len(written)

    async def _record_turns(self, reports: Sequence[TurnReport]) -> int:
        """Writes lines, and keeps the sums true: exactly what is written is added, and what it replaces taken out."""
        once = _once(reports, key=lambda one: one.turn_id, fence=lambda one: one.turn_id)
        new = await self._write(_add_turns(self._transaction.dialect), [_turn_row(one) for one in once])
        guesses = await self._guesses([one for one in once if one.turn_id not in new])
        better = [one for one in once if one.turn_id in guesses]
        await self._write(_write_turns(self._transaction.dialect), [_turn_row(one) for one in better])
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

    async def _write(self, statement: Executable, rows: Sequence[Row]) -> frozenset[str]:
        """The keys of what was written."""
        return frozenset((await self._transaction.run(statement, rows)).scalars()) if rows else frozenset()


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
def _write_attempts(dialect: str) -> Executable:
    # The epoch is the fence: the truth about another grant of the same id says nothing about this one.
    return _truth_replaces(attempts, dialect, key="lease_id", fence="epoch")


@cache
def _add_turns(dialect: str) -> Executable:
    return _in_pages(insert_into(turns, dialect).on_conflict_do_nothing().returning(turns.c.turn_id))


@cache
def _write_turns(dialect: str) -> Executable:
    return _truth_replaces(turns, dialect, key="turn_id", fence="turn_id")


def _truth_replaces(table: Table, dialect: str, *, key: str, fence: str) -> Executable:
    """Inserts what is new; what was guessed when its gateway vanished gives way to what the gateway says."""
    statement = insert_into(table, dialect)
    new = statement.excluded
    guess: ColumnElement[str] = literal_column(f"'{Outcome.ABANDONED.value}'")
    return _in_pages(
        statement.on_conflict_do_update(
            index_elements=[table.c[key]],
            set_={column.name: new[column.name] for column in table.columns if column.name != key},
            where=and_(table.c.outcome == guess, new["outcome"] != guess, table.c[fence] == new[fence]),
        ).returning(table.c[key])
    )


def _in_pages(statement: Executable) -> Executable:
    return statement.execution_options(insertmanyvalues_page_size=ROWS_PER_STATEMENT_MAX)


def _attempt_row(settlement: Settlement) -> Row:
    lease = settlement.lease
    return {
        "lease_id": lease.lease_id,
        "epoch": lease.epoch,
        "account_id": lease.account_id,
        "generation": lease.generation,
        "turn_id": lease.turn_id,
        "attempt": lease.attempt,
        "work": lease.work,
        "api_key_id": lease.api_key_id,
        "model": lease.model,
        "reservation": structures(lease.reservation),
        "granted_at": lease.granted_at,
        "decision": structure(lease.decision),
        **_ending_row(settlement),
        "evidence": [tagged(one) for one in settlement.evidence] or None,
        "anchors": structures(settlement.anchors),
        "calls": settlement.calls,
        "service_tier": settlement.service_tier,
        "upstream_transport": settlement.upstream_transport,
        "ended_at": settlement.ended_at,
    }


def _turn_row(report: TurnReport) -> Row:
    return {
        "turn_id": report.turn_id,
        "started_at": report.started_at,
        **_ending_row(report),
        "lease_id": report.lease_id,
        "account_id": report.account_id,
        "attempts": report.attempts,
        "api_key_id": report.api_key_id,
        "work": report.work,
        "route": report.route,
        "transport": report.transport,
        "requested_model": report.requested_model,
        "model": report.model,
        "reasoning_effort": report.reasoning_effort,
        "service_tier": report.service_tier,
        "actual_service_tier": report.actual_service_tier,
        "status": report.status,
        "user_agent": report.user_agent,
        "client_ip": report.client_ip,
        "response_id": report.response_id,
        "session_id": report.session_id,
        "request_bytes": report.request_bytes,
        "response_bytes": report.response_bytes,
        "decision": structure(report.decision) if report.decision is not None else None,
    }


def _ending_row(ended: Settlement | TurnReport) -> Row:
    fault, usage, timings = ended.fault, ended.usage, ended.timings
    return {
        "outcome": ended.outcome,
        "fault_code": fault.code if fault else None,
        "fault_blame": fault.blame if fault else None,
        "fault_status": fault.status if fault else None,
        "fault_message": fault.message if fault else None,
        "input_tokens": usage.input_tokens if usage else None,
        "cached_input_tokens": usage.cached_input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "reasoning_tokens": usage.reasoning_tokens if usage else None,
        "total_tokens": usage.total_tokens if usage else None,
        "cost_micro_usd": ended.cost_micro_usd,
        "cost_source": ended.cost_source,
        "leased_s": timings.leased_s,
        "dispatched_s": timings.dispatched_s,
        "first_byte_s": timings.first_byte_s,
        "first_output_s": timings.first_output_s,
        "total_s": timings.total_s,
    }


def _settlement_of(row: RowMapping) -> Settlement:
    return Settlement(
        lease=Lease(
            lease_id=LeaseId(row["lease_id"]),
            epoch=row["epoch"],
            account_id=AccountId(row["account_id"]),
            generation=row["generation"],
            turn_id=TurnId(row["turn_id"]),
            attempt=row["attempt"],
            work=Work(row["work"]),
            api_key_id=row["api_key_id"],
            model=row["model"],
            reservation=all_restored(row["reservation"], ReservedAmount),
            granted_at=row["granted_at"],
            decision=restored(row["decision"], Decision),
        ),
        outcome=Outcome(row["outcome"]),
        fault=_fault_of(row),
        usage=_usage_of(row),
        timings=_timings_of(row),
        evidence=tuple(untagged(one) for one in row["evidence"] or ()),
        anchors=all_restored(row["anchors"], Anchor),
        calls=row["calls"],
        service_tier=row["service_tier"],
        upstream_transport=row["upstream_transport"],
        ended_at=row["ended_at"],
        cost_micro_usd=row["cost_micro_usd"],
        cost_source=row["cost_source"],
    )


def report_of(row: RowMapping) -> TurnReport:
    """A line of the request log."""
    return TurnReport(
        turn_id=TurnId(row["turn_id"]),
        started_at=row["started_at"],
        outcome=Outcome(row["outcome"]),
        fault=_fault_of(row),
        lease_id=row["lease_id"],
        account_id=row["account_id"],
        attempts=row["attempts"],
        api_key_id=row["api_key_id"],
        work=Work(row["work"]),
        route=row["route"],
        transport=row["transport"],
        requested_model=row["requested_model"],
        model=row["model"],
        reasoning_effort=row["reasoning_effort"],
        service_tier=row["service_tier"],
        actual_service_tier=row["actual_service_tier"],
        usage=_usage_of(row),
        timings=_timings_of(row),
        status=row["status"],
        user_agent=row["user_agent"],
        client_ip=row["client_ip"],
        response_id=row["response_id"],
        session_id=row["session_id"],
        request_bytes=row["request_bytes"],
        response_bytes=row["response_bytes"],
        decision=restored(row["decision"], Decision) if row["decision"] is not None else None,
        cost_micro_usd=row["cost_micro_usd"],
        cost_source=row["cost_source"],
    )


def _fault_of(row: RowMapping) -> Fault | None:
    if row["fault_code"] is None:
        return None
    return Fault(row["fault_code"], Blame(row["fault_blame"]), row["fault_status"], row["fault_message"])


def _usage_of(row: RowMapping) -> Usage | None:
    if row["total_tokens"] is None:
        return None
    return Usage(
        input_tokens=row["input_tokens"],
        cached_input_tokens=row["cached_input_tokens"],
        output_tokens=row["output_tokens"],
        reasoning_tokens=row["reasoning_tokens"],
        total_tokens=row["total_tokens"],
    )


def _timings_of(row: RowMapping) -> Timings:
    return Timings(
        leased_s=row["leased_s"],
        dispatched_s=row["dispatched_s"],
        first_byte_s=row["first_byte_s"],
        first_output_s=row["first_output_s"],
        total_s=row["total_s"],
    )
