"""Alerts, their targets and deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import RowMapping, delete, func, insert, select, update

from codex_lb.control.domain.alert import (
    Alert,
    AlertKind,
    Condition,
    Delivery,
    DeliveryStage,
    Recent,
    Target,
    TargetKind,
)
from codex_lb.control.domain.lease import Blame, Outcome
from codex_lb.control.errors import StoreConflictError
from codex_lb.control.store.repositories.inserts import insert_into
from codex_lb.control.store.tables import alert_deliveries, alert_targets, alerts, turns
from codex_lb.control.store.transaction import Transaction
from codex_lb.control.usecases.vault_ports import Sealed

UNFAILED = (Outcome.COMPLETED.value, Outcome.CANCELLED.value)


class SqlAlerts:
    """The port over `alerts`, `alert_targets` and `alert_deliveries`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add_target(self, target: Target, sealed: Sealed) -> None:
        row = _target_row(target, sealed) | {"target_id": target.target_id, "created_at": target.created_at}
        new = insert_into(alert_targets, self._transaction.dialect).on_conflict_do_nothing()
        if (await self._transaction.run(new.returning(alert_targets.c.target_id), row)).one_or_none() is None:
            raise StoreConflictError("an alert target has that name already")

    async def save_target(self, target: Target, sealed: Sealed | None) -> bool:
        saved = await self._transaction.run(
            update(alert_targets)
            .where(alert_targets.c.target_id == target.target_id, alert_targets.c.revision == target.revision - 1)
            .values(_target_row(target, sealed))
        )
        return saved.rowcount > 0

    async def delete_target(self, target_id: str) -> bool:
        mine = alert_deliveries.c.target_id == target_id
        await self._transaction.run(delete(alert_deliveries).where(mine))
        deleted = await self._transaction.run(delete(alert_targets).where(alert_targets.c.target_id == target_id))
        return deleted.rowcount > 0

    async def targets(self) -> Sequence[tuple[Target, Sealed]]:
        rows = await self._transaction.run(select(alert_targets).order_by(alert_targets.c.created_at))
        return [(_target_of(row), Sealed(row["key_id"], row["ciphertext"])) for row in rows.mappings()]

    async def raise_(self, alert: Alert, deliveries: Sequence[Delivery], *, is_lasting: bool) -> bool:
        condition = alert.condition
        row = {
            "alert_id": alert.alert_id,
            "open_key": condition.key if is_lasting else None,
            "kind": condition.kind.value,
            "subject": condition.subject,
            "title": condition.title,
            "text": condition.text,
            "recovers_at": condition.recovers_at,
            "raised_at": alert.raised_at,
            "ended_at": None if is_lasting else alert.raised_at,
        }
        new = insert_into(alerts, self._transaction.dialect).on_conflict_do_nothing().returning(alerts.c.alert_id)
        if (await self._transaction.run(new, row)).one_or_none() is None:
            return False
        if deliveries:
            await self._transaction.run(insert(alert_deliveries), [_delivery_row(one) for one in deliveries])
        return True

    async def end(self, alert_id: str, *, at: datetime) -> None:
        mine = update(alerts).where(alerts.c.alert_id == alert_id)
        await self._transaction.run(mine.values(open_key=None, ended_at=at))

    async def recent(self, *, alerts_max: int) -> Sequence[tuple[Alert, Sequence[Delivery]]]:
        rows = await self._transaction.run(
            select(alerts).order_by(alerts.c.raised_at.desc(), alerts.c.alert_id.desc()).limit(alerts_max)
        )
        found = [_alert_of(row) for row in rows.mappings()]
        of = alert_deliveries.c.alert_id.in_([alert.alert_id for alert in found])
        rows = await self._transaction.run(select(alert_deliveries).where(of).order_by(alert_deliveries.c.delivery_id))
        deliveries = [_delivery_of(row) for row in rows.mappings()]
        return [(alert, [one for one in deliveries if one.alert_id == alert.alert_id]) for alert in found]

    async def open(self) -> Sequence[Alert]:
        rows = await self._transaction.run(select(alerts).where(alerts.c.open_key.is_not(None)))
        return [_alert_of(row) for row in rows.mappings()]

    async def told_since(self, since: datetime) -> Mapping[str, datetime]:
        rows = await self._transaction.run(
            select(alerts).where(alerts.c.raised_at >= since).order_by(alerts.c.raised_at)
        )
        return {alert.condition.key: alert.raised_at for alert in map(_alert_of, rows.mappings())}

    async def waiting(self) -> Sequence[tuple[Delivery, Alert]]:
        rows = await self._transaction.run(
            select(alert_deliveries).where(alert_deliveries.c.stage == DeliveryStage.WAITING.value)
        )
        deliveries = [_delivery_of(row) for row in rows.mappings()]
        rows = await self._transaction.run(
            select(alerts).where(alerts.c.alert_id.in_([one.alert_id for one in deliveries]))
        )
        by_id = {row["alert_id"]: _alert_of(row) for row in rows.mappings()}
        return [(one, by_id[one.alert_id]) for one in deliveries if one.alert_id in by_id]

    async def save_delivery(self, delivery: Delivery) -> None:
        mine = update(alert_deliveries).where(alert_deliveries.c.delivery_id == delivery.delivery_id)
        await self._transaction.run(mine.values(_delivery_row(delivery)))

    async def purge(self, *, before: datetime) -> None:
        old = select(alerts.c.alert_id).where(alerts.c.ended_at < before)
        await self._transaction.run(delete(alert_deliveries).where(alert_deliveries.c.alert_id.in_(old)))
        await self._transaction.run(delete(alerts).where(alerts.c.ended_at < before))

    async def turns_since(self, since: datetime) -> Recent:
        is_failed = turns.c.outcome.not_in(UNFAILED)
        is_own_doing = turns.c.fault_blame.is_not_distinct_from(Blame.CLIENT.value)
        counted = select(func.count().label("turns"), func.count().filter(is_failed).label("failed")).where(
            turns.c.started_at >= since, turns.c.outcome != Outcome.CANCELLED.value, ~(is_failed & is_own_doing)
        )
        row = (await self._transaction.run(counted)).mappings().one()
        return Recent(row["turns"], row["failed"])


def _target_row(target: Target, sealed: Sealed | None) -> dict[str, object]:
    """Without an address the stored one stays: a rotation may have sealed it anew meanwhile."""
    return {
        "name": target.name,
        "kind": target.kind.value,
        "host": target.host,
        "wants": [kind.value for kind in target.wants],
        "revision": target.revision,
    } | ({"key_id": sealed.key_id, "ciphertext": sealed.ciphertext} if sealed else {})


def _target_of(row: RowMapping) -> Target:
    return Target(
        row["target_id"],
        row["name"],
        TargetKind(row["kind"]),
        row["host"],
        tuple(AlertKind(kind) for kind in row["wants"]),
        row["created_at"],
        row["revision"],
    )


def _alert_of(row: RowMapping) -> Alert:
    condition = Condition(AlertKind(row["kind"]), row["subject"], row["title"], row["text"], row["recovers_at"])
    return Alert(row["alert_id"], condition, row["raised_at"], row["ended_at"])


def _delivery_row(delivery: Delivery) -> dict[str, object]:
    return {
        "delivery_id": delivery.delivery_id,
        "alert_id": delivery.alert_id,
        "target_id": delivery.target_id,
        "stage": delivery.stage.value,
        "tries": delivery.tries,
        "next_try_at": delivery.next_try_at,
        "status": delivery.status,
        "problem": delivery.problem,
        "ended_at": delivery.ended_at,
    }


def _delivery_of(row: RowMapping) -> Delivery:
    return Delivery(
        row["delivery_id"],
        row["alert_id"],
        row["target_id"],
        DeliveryStage(row["stage"]),
        row["tries"],
        row["next_try_at"],
        row["status"],
        row["problem"],
        row["ended_at"],
    )
