"""Turns that find no slot line up here, and are served in fair order.

While anybody waits, everybody lines up, and one loop serves the queue: whenever something changes that may help (a slot
freed, an account back), those whose turn it is are served, each looked at once however many wait for the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Protocol

from codex_lb.control.domain.fair_queue import FairQueue
from codex_lb.control.usecases.asked_turn import Granted, Turn
from codex_lb.control.usecases.refusals import Refused
from codex_lb.kit.clock import Clock

# For a slot of the account that knows the conversation, before its thoughts are given up; and for one of any account that
# did not fail it, before it is tried again where it was failed.
OWNER_WAIT_S = 2.0
WAITING_MAX = 10_000  # turns in the queue; more would all wait in vain
KEY_WAITING_MAX = 1_000  # turns of one key that wait for each other; the room is for all keys
AWAY_WAIT_S = 4.0  # for Redis, or for gateways to announce what they hold: a little longer than both take
LOOK_AGAIN_S = 1.0  # how soon the queue is looked at anew though nothing was heard: clocks may be set
SHORTEST_WAIT_S = 0.01  # between two looks for the sake of an instant that has all but come


class Desk(Protocol):
    """Where those who wait are served."""

    async def attempt(self, turn: Turn) -> Granted | Refused | None:
        """A lease or a refusal now; None when waiting may help."""
        ...

    def refused(self, turn: Turn) -> Refused:
        """Why a turn that has waited long enough gets nothing."""
        ...

    async def give_back(self, answer: Granted | Refused) -> None:
        """Nobody wants it any more."""
        ...

    def is_busy(self, key: str) -> bool:
        """Whether an API key runs as many turns as it may: those that wait need not be looked at."""
        ...

    def scope(self, turn: Turn) -> Hashable:
        """The accounts that its key may use."""
        ...

    def next_change_in(self) -> float | None:
        """Seconds until time alone changes what can be served; None when it never does."""
        ...


class WaitingLine:
    """One per control. `run` serves it."""

    def __init__(
        self, desk: Desk, held_by_key: Callable[[str], int], clock: Clock, *, waiting_max: int = WAITING_MAX
    ) -> None:
        self._desk = desk
        self._held_by_key = held_by_key
        self._clock = clock
        self._waiting_max = waiting_max
        self._queue: FairQueue[Turn] = FairQueue()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def is_full(self) -> bool:
        """Whether nobody can line up any more."""
        return len(self._queue) >= self._waiting_max

    def is_full_of(self, key: str) -> bool:
        """Whether as many turns of a key wait as may wait for each other."""
        return self._queue.waiting_of(key) >= min(KEY_WAITING_MAX, self._waiting_max)

    def look_again(self, _: object) -> None:
        """Something changed that may help."""
        if self._queue:
            self._changed.set()

    async def wait(self, turn: Turn) -> Granted | Refused:
        """What the turn is answered, at the latest when it goes on no longer."""
        try:
            while True:
                self._line_up(turn)
                await asyncio.wait([turn.answer], timeout=self._patience_s(turn))
                if turn.answer.done():
                    return turn.answer.result()
                self._queue.remove(turn)
                if turn.is_in_the_dark or not turn.is_holding_out or turn.left_s(self._clock.monotonic()) <= 0:
                    return self._desk.refused(turn)
                turn.is_holding_out = False  # long enough: any account will do now
        except asyncio.CancelledError:
            self._queue.remove(turn)
            if turn.answer.done():
                await self._desk.give_back(turn.answer.result())
            turn.answer.cancel()
            raise

    async def run(self) -> None:
        """Serves the queue for as long as control lives."""
        while True:
            await self._something_changed()
            await self._serve()

    def _line_up(self, turn: Turn) -> None:
        tie = turn.tie
        owner = tie.preferred if tie.is_bound or turn.is_holding_out else None
        avoided = {*tie.avoided, *tie.unsteady} if turn.is_holding_out else ()
        turn.kind = (turn.wanted.model, owner, frozenset((*turn.wanted.excluded, *avoided)), self._desk.scope(turn))
        turn.position = self._queue.put(turn)
        self._changed.set()

    def _patience_s(self, turn: Turn) -> float:
        now = self._clock.monotonic()
        left_s = turn.left_s(now)
        if turn.is_in_the_dark:
            return max(0.0, min(left_s, AWAY_WAIT_S - turn.waited_s(now)))
        return min(left_s, OWNER_WAIT_S - turn.waited_s(now)) if turn.is_holding_out else left_s

    async def _something_changed(self) -> None:
        timeout_s: float | None = None
        if self._queue:
            timeout_s = min(self._desk.next_change_in() or LOOK_AGAIN_S, LOOK_AGAIN_S)
        try:
            async with asyncio.timeout(None if timeout_s is None else max(timeout_s, SHORTEST_WAIT_S)):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    async def _serve(self) -> None:
        """Grants what can be granted, in fair order; a kind that cannot be served is not tried again.

        A turn that found its key busy is not looked at again before the key is not.
        """
        in_vain: set[Hashable] = set()
        while (turn := self._queue.next(self._held_by_key, in_vain, self._desk.is_busy)) is not None:
            answer = await self._desk.attempt(turn)
            if answer is None:
                if not self._desk.is_busy(turn.key):
                    in_vain.add(turn.kind)
                continue
            self._queue.remove(turn)
            if turn.answer.done():
                await self._desk.give_back(answer)
            else:
                turn.answer.set_result(answer)
