"""What is raised by the watch over the pool, and what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import anyio
import anyio.lowlevel
import structlog

from codex_lb.control.domain.alert import (
    BURST_WITHIN,
    QUIET,
    Alert,
    Delivery,
    KeyUse,
    Seen,
    changes,
    conditions,
)
from codex_lb.control.errors import (
    StoreUnavailableError,
)
from codex_lb.control.usecases.alert_targets import AlertTargets
from codex_lb.control.usecases.pool import Member, Pool
from codex_lb.control.usecases.ports import Store
from codex_lb.kit.clock import Clock
from codex_lb.kit.portions import portions

ALERTS_SHOWN_MAX = 200
KEPT = timedelta(days=90)
ACCOUNTS_AT_ONCE = 500  # a millisecond; between such portions turns go on

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


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
        present = conditions(await self._all_seen(), recent, await self._key_use())
        changed = changes(present, open_alerts, told=told, now=now)
        for condition in changed.begun:
            await self._targets.tell(condition, is_lasting=True)
        if changed.ended:
            async with self._store.begin(writing=True) as unit:
                for alert in changed.ended:
                    await unit.alerts.end(alert.alert_id, at=now)
                await unit.alerts.purge(before=now - KEPT)
            for alert in changed.ended:
                log.info("alert is over", kind=alert.condition.kind.value, subject=alert.condition.subject)

    async def _all_seen(self) -> list[Seen]:
        seen: list[Seen] = []
        for portion in portions(list(self._pool.members()), ACCOUNTS_AT_ONCE):
            seen += [self._seen(member) for member in portion]
            await anyio.lowlevel.checkpoint()
        return seen

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
