"""Where alerts go, and what is raised: by the watch over the pool, or to try a target out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta

import anyio
import structlog

from codex_lb.control.domain.alert import (
    BURST_WITHIN,
    QUIET,
    Alert,
    AlertKind,
    Condition,
    Delivery,
    KeyUse,
    Recent,
    Seen,
    Target,
    TargetKind,
    changes,
    conditions,
)
from codex_lb.control.domain.alert_form import Address, checked_address
from codex_lb.control.errors import (
    AlertTargetNotFoundError,
    CredentialUnreadableError,
    InvalidUpdateError,
    StoreUnavailableError,
)
from codex_lb.control.usecases.alert_deliveries import AlertDeliveries
from codex_lb.control.usecases.alert_secrets import open_address, seal_address
from codex_lb.control.usecases.pool import Member, Pool
from codex_lb.control.usecases.ports import Store
from codex_lb.control.usecases.vault_ports import Vault
from codex_lb.kit.clock import Clock

TARGETS_MAX = 50
NAME_CHARS_MAX = 60
ALERTS_SHOWN_MAX = 200
KEPT = timedelta(days=90)

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class AlertTargets:
    """The verbs about targets. Each may raise StoreUnavailableError."""

    def __init__(
        self, store: Store, vault: Vault, deliveries: AlertDeliveries, clock: Clock, *, new_id: Callable[[str], str]
    ) -> None:
        self._store = store
        self._vault = vault
        self._deliveries = deliveries
        self._clock = clock
        self._new_id = new_id

    async def add(self, name: str, kind: TargetKind, address: Address, wants: Collection[AlertKind]) -> Target:
        """Raises InvalidUpdateError with the field's name, and StoreConflictError when the name is taken."""
        if not name.strip() or len(name) > NAME_CHARS_MAX:
            raise InvalidUpdateError(f"display_name must have 1 to {NAME_CHARS_MAX} characters.")
        host = checked_address(kind, address)
        wanted = tuple(sorted(set(wants)))
        target = Target(self._new_id("alt"), name.strip(), kind, host, wanted, self._clock.now())
        async with self._store.begin(writing=True) as unit:
            if len(await unit.alerts.targets()) >= TARGETS_MAX:
                raise InvalidUpdateError(f"there may be {TARGETS_MAX} alert targets.")
            await unit.alerts.add_target(target, seal_address(self._vault, target, address))
        return target

    async def list(self) -> Sequence[Target]:
        """All, oldest first."""
        async with self._store.begin(writing=False) as unit:
            return [target for target, _ in await unit.alerts.targets()]

    async def delete(self, target_id: str) -> None:
        """Raises AlertTargetNotFoundError."""
        async with self._store.begin(writing=True) as unit:
            was_there = await unit.alerts.delete_target(target_id)
        self._deliveries.forget_target(target_id)
        if not was_there:
            raise _unknown(target_id)

    async def test(self, target_id: str) -> Alert:
        """Sends an alert that says nothing but that it arrived. Raises AlertTargetNotFoundError."""
        condition = Condition(AlertKind.TEST, target_id, "codex-lb can reach you", "Alerts of the pool will come here.")
        alert = await self.tell(condition, is_lasting=False, only=target_id)
        if alert is None:
            raise _unknown(target_id)
        return alert

    async def tell(self, condition: Condition, *, is_lasting: bool, only: str | None = None) -> Alert | None:
        """Stores an alert and has it delivered; None when it is told already, or nobody is called that."""
        now = self._clock.now()
        alert = Alert(self._new_id("alert"), condition, now)
        async with self._store.begin(writing=True) as unit:
            targets = await unit.alerts.targets()
            meant = [(t, s) for t, s in targets if (t.target_id == only if only else t.is_for(condition.kind))]
            if only and not meant:
                return None
            sent = [
                (Delivery(self._new_id("del"), alert.alert_id, target.target_id, next_try_at=now), target, sealed)
                for target, sealed in meant
            ]
            if not await unit.alerts.raise_(alert, [delivery for delivery, _, _ in sent], is_lasting=is_lasting):
                return None
        for delivery, target, sealed in sent:
            try:
                self._deliveries.add(delivery, alert, target, open_address(self._vault, target, sealed))
            except CredentialUnreadableError as error:
                log.warning("an alert cannot be delivered", target=target.name, why=str(error))
        log.warning("alert", kind=condition.kind.value, subject=condition.subject, title=condition.title)
        return alert


class WatchAlerts:
    """Looks at the pool and at what turns came to, again and again, and tells what is new."""

    def __init__(
        self,
        pool: Pool,
        store: Store,
        targets: AlertTargets,
        clock: Clock,
        *,
        key_use: Callable[[], Awaitable[Sequence[KeyUse]]],
    ) -> None:
        self._pool = pool
        self._store = store
        self._targets = targets
        self._clock = clock
        self._key_use = key_use

    async def run(self, period_s: float) -> None:
        """Goes on until cancelled. While the database is away, nothing can be told."""
        is_away = False
        while True:
            await anyio.sleep(period_s)
            try:
                await self.look()
            except StoreUnavailableError as error:
                if not is_away:
                    log.warning("alerts wait for the database", why=str(error))
                is_away = True
            else:
                is_away = False

    async def look(self) -> None:
        """Looks once. Raises StoreUnavailableError."""
        now = self._clock.now()
        async with self._store.begin(writing=False) as unit:
            open_alerts = {alert.condition.key: alert for alert in await unit.alerts.open()}
            told = await unit.alerts.told_since(now - QUIET)
            recent = await unit.alerts.turns_since(now - BURST_WITHIN)
        changed = changes(self.conditions(recent, await self._key_use()), open_alerts, told=told, now=now)
        for condition in changed.begun:
            await self._targets.tell(condition, is_lasting=True)
        if changed.ended:
            async with self._store.begin(writing=True) as unit:
                for alert in changed.ended:
                    await unit.alerts.end(alert.alert_id, at=now)
                await unit.alerts.purge(before=now - KEPT)
            for alert in changed.ended:
                log.info("alert is over", kind=alert.condition.kind.value, subject=alert.condition.subject)

    def conditions(self, recent: Recent, keys: Sequence[KeyUse]) -> Sequence[Condition]:
        """What is so now."""
        return list(conditions([self._seen(member) for member in self._pool.members()], recent, keys))

    def _seen(self, member: Member) -> Seen:
        account, standing = member.account, member.standing_at(self._clock.now())
        used = [seen.window.used_percent for seen in member.record.usage.values()]
        return Seen(
            account_id=account.account_id,
            label=account.alias or account.email,
            status=standing.status,
            reason=standing.reason,
            until=standing.until,
            percent_left=100.0 - max(used) if used else None,
        )


class ViewAlerts:
    """What was raised, and how far it is on its way."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def recent(self) -> Sequence[tuple[Alert, Sequence[Delivery]]]:
        """The newest first. Raises StoreUnavailableError."""
        async with self._store.begin(writing=False) as unit:
            return await unit.alerts.recent(alerts_max=ALERTS_SHOWN_MAX)


def _unknown(target_id: str) -> AlertTargetNotFoundError:
    return AlertTargetNotFoundError(f"There is no alert target {target_id!r}.")
