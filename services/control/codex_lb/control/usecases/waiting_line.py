"""Turns that find no slot line up here, and are served in fair order.

While anybody waits, everybody lines up, and one loop serves the queue: whenever something changes that may help (a slot
freed, an account back), those whom it may help are looked at in fair order, one of all that wait for the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import NamedTuple, Protocol

from codex_lb.control.domain.fair_queue import FairQueue
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.usecases.asked_turn import Granted, Turn
from codex_lb.control.usecases.refusals import Refused
from codex_lb.kit.clock import Clock

WAITING_MAX = 10_000  # turns in the queue; more would all wait in vain
KEY_WAITING_MAX = 1_000  # turns of one key that wait for each other; the room is for all keys
AWAY_WAIT_S = 4.0  # for Redis, or for gateways to announce what they hold: a little longer than both take
LOOK_AGAIN_S = 1.0  # how soon the queue is looked at anew though nothing was heard: clocks may be set
SHORTEST_WAIT_S = 0.01  # between two looks for the sake of an instant that has all but come


class Kind(NamedTuple):
    """What a turn waits for."""

    model: str
    owner: AccountId | None  # a slot of this account; None for any
    avoided: frozenset[AccountId]
    scope: frozenset[AccountId] | None


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
        """Whether turns of an API key can only wait, so that they need not be looked at."""
        ...

    def kind_of(self, turn: Turn) -> Kind:
        """What a turn waits for, as far as is known."""
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
        self._changed_accounts: set[AccountId] = set()
        self._new_kinds: set[Hashable] = set()
        self._is_all_changed = False
        self._busy_keys: set[str] = set()  # when the queue was last looked at

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def is_full(self) -> bool:
        """Whether nobody can line up any more."""
        return len(self._queue) >= self._waiting_max

    def is_full_of(self, key: str) -> bool:
        """Whether as many turns of a key wait as may wait for each other."""
        return self._queue.waiting_of(key) >= min(KEY_WAITING_MAX, self._waiting_max)

    def account_changed(self, account_id: AccountId) -> None:
        """Something about an account may help somebody."""
        if self._queue:
            self._changed_accounts.add(account_id)
            self._changed.set()

    def everything_changed(self, _: object = None) -> None:
        """Something may help anybody."""
        if self._queue:
            self._is_all_changed = True
            self._changed.set()

    async def wait(self, turn: Turn) -> Granted | Refused:
        """What the turn is answered, at the latest when it goes on no longer."""
        try:
            turn.position = self._queue.put(turn, self._looked_for(turn))
            while not turn.answer.done():
                was_in_the_dark = turn.is_in_the_dark
                is_last = turn.has_held_out or was_in_the_dark
                await asyncio.wait([turn.answer], timeout=self._patience_s(turn))
                if turn.answer.done():
                    break
                if was_in_the_dark and not turn.is_in_the_dark:
                    continue  # it may wait for a slot as others do
                if is_last:
                    self._queue.remove(turn)
                    return self._desk.refused(turn)
                turn.has_held_out = True  # long enough: any account will do now
                self._queue.move(turn, self._looked_for(turn))
            return turn.answer.result()
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

    def _looked_for(self, turn: Turn) -> Kind:
        """What it waits for; whoever is first of those is looked at next."""
        kind = self._desk.kind_of(turn)
        self._new_kinds.add(kind)
        self._changed.set()
        return kind

    def _patience_s(self, turn: Turn) -> float:
        now = self._clock.monotonic()
        left_s, waited_s = turn.left_s(now), turn.waited_s(now)
        if turn.is_in_the_dark:
            return max(0.0, min(left_s, AWAY_WAIT_S - waited_s))
        return left_s if turn.has_held_out else max(0.0, turn.holds_out_s - waited_s)

    async def _something_changed(self) -> None:
        timeout_s: float | None = None
        if self._queue:
            timeout_s = min(self._desk.next_change_in() or LOOK_AGAIN_S, LOOK_AGAIN_S)
        try:
            async with asyncio.timeout(None if timeout_s is None else max(timeout_s, SHORTEST_WAIT_S)):
                await self._changed.wait()
        except TimeoutError:
            self._is_all_changed = True
        self._changed.clear()

    async def _serve(self) -> None:
        """Grants what can be granted, in fair order; of a kind that cannot be served nobody else is looked at.

        A turn that found its key busy is not looked at again before the key is not.
        """
        in_vain = self._unaffected()
        while (turn := self._queue.next(self._held_by_key, in_vain, self._desk.is_busy)) is not None:
            answer = await self._desk.attempt(turn)
            if answer is None:
                kind = self._desk.kind_of(turn)
                self._queue.move(turn, kind)
                if not self._desk.is_busy(turn.key):
                    in_vain.add(kind)
                continue
            self._queue.remove(turn)
            if turn.answer.done():
                await self._desk.give_back(answer)
            else:
                turn.answer.set_result(answer)

    def _unaffected(self) -> set[Hashable]:
        """The kinds that nothing of what changed concerns: each waits for a slot of one account, and that is not among it."""
        queue, accounts, new = self._queue, self._changed_accounts, self._new_kinds
        busy = {key for key in queue.keys if self._desk.is_busy(key)}
        freed, is_all = self._busy_keys - busy, self._is_all_changed
        self._changed_accounts, self._new_kinds, self._busy_keys, self._is_all_changed = set(), set(), busy, False
        if is_all:
            return set()
        concerned = {kind for key in freed for kind in queue.kinds_of(key)} | new
        return {
            kind
            for key in queue.keys
            for kind in queue.kinds_of(key)
            if kind not in concerned and isinstance(kind, Kind) and kind.owner not in {None, *accounts}
        }
