"""What API keys have spent, summed up from the rows of settled leases."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, RowMapping, and_, case, func, or_, select

from codex_lb.control.domain.ids import ApiKeyId, LeaseId
from codex_lb.control.domain.lease import Outcome, ReservedAmount, Usage, Work
from codex_lb.control.domain.limit import Amounts
from codex_lb.control.domain.spending import COUNTED, UNPRICED_MICRO_USD_PER_TOKEN, Ending, Spent, of_usage, spent_by
from codex_lb.control.store.structures import all_restored
from codex_lb.control.store.tables import attempts
from codex_lb.control.store.transaction import Transaction
from codex_lb.kit.portions import portions

_COLUMNS = (
    attempts.c.lease_id,
    attempts.c.api_key_id,
    attempts.c.model,
    attempts.c.granted_at,
    attempts.c.work,
    attempts.c.outcome,
    attempts.c.first_output_s,
    attempts.c.reservation,
    attempts.c.input_tokens,
    attempts.c.cached_input_tokens,
    attempts.c.output_tokens,
    attempts.c.reasoning_tokens,
    attempts.c.total_tokens,
    attempts.c.cost_micro_usd,
)
IDS_MAX = 500  # in one statement
_MAY_COUNT = [outcome.value for outcome in (Outcome.ABANDONED, Outcome.COMPLETED, Outcome.CANCELLED, Outcome.BROKEN)]


class SqlSpendings:
    """The port over `attempts`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def known(self, api_key_id: ApiKeyId, *, since: datetime, model: str) -> Amounts:
        cost = func.coalesce(attempts.c.cost_micro_usd, attempts.c.total_tokens * UNPRICED_MICRO_USD_PER_TOKEN)
        of_model = [attempts.c.model == model] if model else []
        rows = await self._transaction.run(
            select(
                func.count(case((attempts.c.output_tokens > 0, 1))),
                *(
                    func.coalesce(func.sum(column), 0)
                    for column in (
                        attempts.c.input_tokens,
                        attempts.c.output_tokens,
                        attempts.c.total_tokens,
                        cost,
                    )
                ),
            ).where(_granted(api_key_id, since), attempts.c.total_tokens.is_not(None), *of_model)
        )
        return Amounts(*(int(value) for value in rows.one()))

    async def unseen(self, api_key_id: ApiKeyId, *, since: datetime) -> Sequence[Spent]:
        rows = await self._transaction.run(
            select(*_COLUMNS).where(
                _granted(api_key_id, since),
                attempts.c.total_tokens.is_(None),
                attempts.c.outcome.in_(_MAY_COUNT),
                or_(attempts.c.reservation.is_not(None), attempts.c.work == Work.TRANSCRIPTION.value),
            )
        )
        return [_spent_of(row) for row in rows.mappings()]

    async def of(self, lease_ids: Collection[LeaseId]) -> Mapping[LeaseId, Spent]:
        found: dict[LeaseId, Spent] = {}
        for portion in portions(list(lease_ids), IDS_MAX):
            rows = await self._transaction.run(select(*_COLUMNS).where(attempts.c.lease_id.in_(portion)))
            found |= {LeaseId(row["lease_id"]): _spent_of(row) for row in rows.mappings()}
        return found


def _granted(api_key_id: ApiKeyId, since: datetime) -> ColumnElement[bool]:
    return and_(
        attempts.c.api_key_id == api_key_id,
        attempts.c.granted_at >= since,
        attempts.c.work.in_([work.value for work in COUNTED]),
    )


def _spent_of(row: RowMapping) -> Spent:
    ending = Ending(
        work=Work(row["work"]),
        outcome=Outcome(row["outcome"]),
        has_begun=row["first_output_s"] is not None,
        reservation=all_restored(row["reservation"], ReservedAmount),
    )
    known: Amounts | None = None
    if row["total_tokens"] is not None:
        usage = Usage(
            input_tokens=row["input_tokens"],
            cached_input_tokens=row["cached_input_tokens"],
            output_tokens=row["output_tokens"],
            reasoning_tokens=row["reasoning_tokens"],
            total_tokens=row["total_tokens"],
        )
        known = of_usage(usage, row["cost_micro_usd"])
    return spent_by(ApiKeyId(row["api_key_id"]), row["model"], row["granted_at"], ending, known)
