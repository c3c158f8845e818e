"""Watches a turn from beside it: its client may hang up, its deadline may pass, and a client that waits wants company.

asyncio's own time-out and task group, because anyio's cost as much as the rest of a short turn (bench/README.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TypeVar

import structlog

from codex_lb.gateway.leasing.held import Holding
from codex_lb.gateway.outcome import SILENCE, Abandoned, Blame, Broken, Fault, Outcome
from codex_lb.gateway.turn.context import Attempt, Delivery
from codex_lb.gateway.turn.deadline import Deadline, Due
from codex_lb.kit.clock import Clock

TELL_S = 5.0  # for a few bytes to a client that may have stopped reading
T = TypeVar("T")
log = structlog.get_logger(__name__)

HangUp = Callable[[], Awaitable[None]]  # returns when the client is gone; may be cancelled and called again


class Watch:
    """Over one turn."""

    def __init__(self, turn_id: str, delivery: Delivery, deadline: Deadline, clock: Clock) -> None:
        self._turn_id = turn_id
        self._delivery = delivery
        self._deadline = deadline
        self._clock = clock
        self._attempt: asyncio.Timeout | None = None  # of the attempt that runs
        self.interruption: Abandoned | Broken | None = None  # why the turn was cut off, if it was

    async def over(self, work: Coroutine[object, object, T], gone: HangUp) -> T | None:
        """What the work returns; None when it was cut off."""
        result: T | None = None
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as cut, asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._watch(gone, cut))
                result = await work
                self.interruption = None  # one that came with the end came too late
                watching.cancel()
        return result

    async def attempt(self, attempt: Attempt, holding: Holding) -> Outcome:
        """How the attempt ended. One that upstream leaves in silence ends alone while nothing of an answer is shown."""
        cut = self._attempt = asyncio.timeout(None)
        try:
            async with cut:
                return await attempt.run(holding)
        except TimeoutError:
            if not cut.expired():
                raise
            return attempt.outcome or idle()
        finally:
            self._attempt = None

    async def _watch(self, gone: HangUp, cut: asyncio.Timeout) -> None:
        while self.interruption is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._deadline.next_check_s(self._clock.monotonic())):
                    await gone()
                if self._delivery.is_ended:
                    return
                self.interruption = Abandoned()
                break
            await self._look()
        cut.reschedule(0)  # at once

    async def _look(self) -> None:
        """Nothing was heard of the client; what the time calls for."""
        now = self._clock.monotonic()
        match self._deadline.due(now):
            case Due.KEEP_ALIVE:
                self._deadline.told = now
                with suppress(TimeoutError):  # one that does not read needs no company
                    async with asyncio.timeout(TELL_S):
                        await self._delivery.keep_alive()
            case Due.CLIENT_STALLED:
                log.info("a client stopped reading and is cut off", turn_id=self._turn_id)
                self.interruption = Abandoned()
            case Due.IDLE_TIMEOUT if self._attempt is not None and not self._delivery.is_visible:
                self._deadline.heard = now  # whoever is asked next has as long
                self._attempt.reschedule(0)  # at once
            case Due.IDLE_TIMEOUT:
                self.interruption = idle()
            case Due.BUDGET_SPENT:
                fault = Fault("upstream_request_timeout", Blame.US, "Proxy request budget exhausted")
                self.interruption = Broken(fault)
            case Due.NOTHING:
                pass


def idle() -> Broken:
    """Upstream was silent for too long."""
    return Broken(Fault(SILENCE, Blame.UPSTREAM, "Upstream stream idle timeout"))
