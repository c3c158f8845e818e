"""The journal of token exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping, insert, or_, select, update

from codex_lb.control.domain.ids import AccountId, TicketId, WorkerId
from codex_lb.control.domain.rotation import Exchange, ExchangeOutcome
from codex_lb.control.store.tables import credentials, exchanges
from codex_lb.control.store.transaction import Transaction


class SqlExchanges:
    """The port over `exchanges`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def begin(self, begun: Sequence[Exchange]) -> None:
        if begun:
            await self._transaction.run(insert(exchanges), [_row_of(exchange) for exchange in begun])

    async def end(self, ticket_id: TicketId, outcome: ExchangeOutcome, *, ended_at: datetime) -> None:
        await self._transaction.run(
            update(exchanges)
            .where(exchanges.c.ticket_id == ticket_id, exchanges.c.ended_at.is_(None))
            .values(outcome=outcome.value, ended_at=ended_at)
        )

    async def recent(self, *, since: datetime) -> list[Exchange]:
        rows = await self._transaction.run(
            select(exchanges)
            .join(credentials, credentials.c.account_id == exchanges.c.account_id)
            .where(or_(exchanges.c.generation >= credentials.c.generation, exchanges.c.started_at >= since))
            .order_by(exchanges.c.started_at, exchanges.c.epoch)
        )
        return [_exchange_of(row) for row in rows.mappings()]


def _row_of(exchange: Exchange) -> dict[str, object]:
    return {
        "ticket_id": exchange.ticket_id,
        "epoch": exchange.epoch,
        "account_id": exchange.account_id,
        "generation": exchange.generation,
        "fingerprint": exchange.fingerprint,
        "worker_id": exchange.worker_id,
        "started_at": exchange.started_at,
        "ended_at": exchange.ended_at,
        "outcome": exchange.outcome.value if exchange.outcome is not None else None,
    }


def _exchange_of(row: RowMapping) -> Exchange:
    return Exchange(
        ticket_id=TicketId(row["ticket_id"]),
        epoch=row["epoch"],
        account_id=AccountId(row["account_id"]),
        generation=row["generation"],
        fingerprint=row["fingerprint"],
        worker_id=WorkerId(row["worker_id"]),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        outcome=ExchangeOutcome(row["outcome"]) if row["outcome"] is not None else None,
    )
