"""Deletes lines of the request log that are past their retention, a little at a time. Their sums stay."""

from __future__ import annotations

from datetime import timedelta

import anyio
import structlog

from codex_lb.control.errors import StoreUnavailableError
from codex_lb.control.usecases.ports import Store
from codex_lb.kit.clock import Clock

ROWS_AT_ONCE = 1_000  # some tens of milliseconds, for which SQLite's one writer is held
PAUSE_S = 0.1  # between two of them, so that turns are written meanwhile

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class DropOldTurns:
    """The verb, and what does it again and again."""

    def __init__(self, store: Store, clock: Clock, *, kept: timedelta | None) -> None:
        self._store = store
        self._clock = clock
        self._kept = kept

    async def run(self, period_s: float) -> None:
        """Every so often. Does nothing where everything is kept."""
        while self._kept is not None:
            try:
                if dropped := await self():
                    log.info("lines past their retention deleted", rows=dropped)
            except StoreUnavailableError as error:
                log.warning("lines past their retention could not be deleted", why=str(error))
            await anyio.sleep(period_s)

    async def __call__(self) -> int:
        """Deletes all there are; how many it were. Raises StoreUnavailableError."""
        dropped = 0
        while self._kept is not None:
            async with self._store.begin(writing=True) as unit:
                before = self._clock.now() - self._kept
                step = await unit.request_log.purge(before=before, rows_max=ROWS_AT_ONCE)
            if step == 0:
                break
            dropped += step
            await anyio.sleep(PAUSE_S)
        return dropped
