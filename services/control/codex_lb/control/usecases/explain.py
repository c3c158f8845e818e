"""Tells why a turn was served by which account, and what other rules would have done. Reads what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

import anyio.to_thread

from codex_lb.control.domain.ids import TurnId
from codex_lb.control.domain.lease import Settlement, TurnReport
from codex_lb.control.domain.selection import Rules
from codex_lb.control.domain.simulation import Simulation, simulate
from codex_lb.control.errors import RequestNotFoundError
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.ports import Store
from codex_lb.kit.clock import Clock

LEASES_MAX = 20_000  # of one simulation; about two seconds of work
SAMPLES_MAX = 200_000
SAMPLES_FROM = timedelta(hours=2)  # before the first lease: how full windows were then was seen a while before
PERIOD = timedelta(days=1)  # where none is named


@dataclass(frozen=True, slots=True)
class Explanation:
    """A turn as it was recorded."""

    turn_id: TurnId
    report: TurnReport | None  # None while it runs, or when its gateway vanished
    attempts: Sequence[Settlement]


class Explain:
    """The verbs."""

    def __init__(self, store: Store, pool: Pool, book: SettingsBook, clock: Clock) -> None:
        self._store = store
        self._pool = pool
        self._book = book
        self._clock = clock

    async def turn(self, turn_id: TurnId) -> Explanation:
        """Raises RequestNotFoundError."""
        async with self._store.begin(writing=False) as unit:
            report, attempts = await unit.turns.report(turn_id), await unit.turns.attempts(turn_id)
        if report is None and not attempts:
            raise RequestNotFoundError(
                f"No turn {turn_id!r} is recorded. Its id is in the x-request-id header of the answer; a turn is recorded"
                " when it ends."
            )
        return Explanation(turn_id, report, attempts)

    async def simulation(
        self, rules: Rules, *, since: datetime | None, until: datetime | None
    ) -> tuple[Simulation, int]:
        """A replay of the leases of a period, and how many of the oldest were left out."""
        until = until or self._clock.now()
        since = since or until - PERIOD
        async with self._store.begin(writing=False) as unit:
            leases, total = await unit.turns.granted(since=since, until=until, leases_max=LEASES_MAX)
            first = leases[0].granted_at if leases else since
            samples = await unit.accounts.usage_seen(since=first - SAMPLES_FROM, until=until, samples_max=SAMPLES_MAX)
        accounts = [member.account for member in self._pool.members()]
        slots = self._book.now.account_stream_limit
        # In a thread: it may take seconds, and control has leases to grant meanwhile.
        repeatable = Random(1).random  # noqa: S311 - the same question gets the same answer
        simulated = await anyio.to_thread.run_sync(
            lambda: simulate(leases, samples, accounts, rules, slots=slots, random=repeatable)
        )
        return simulated, total - len(leases)
