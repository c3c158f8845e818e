"""Who is served next when there is not enough for everybody: max-min fair between API keys. Pure.

The key that holds the fewest leases goes first, so a key with a hundred turns waiting takes nothing from one with a
single turn; inside a key whoever came first is served first. A key that holds all it may waits for itself, and keeps
nobody else waiting.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, Protocol, TypeVar


class Waits(Hashable, Protocol):
    """What waits in a queue."""

    @property
    def key(self) -> str:
        """Who is to get a fair share."""
        ...


T = TypeVar("T", bound=Waits)


@dataclass(slots=True)
class Line(Generic[T]):
    """Those of one key and one kind, in the order in which they came."""

    waiting: deque[tuple[int, T]] = field(default_factory=deque)


class FairQueue(Generic[T]):
    """Everybody who waits, each for something: where one of a kind cannot be served, none of the kind can."""

    def __init__(self) -> None:
        self._kinds: dict[T, Hashable] = {}
        self._lines: dict[str, dict[Hashable, Line[T]]] = {}
        self._of_key: Counter[str] = Counter()
        self._arrivals = count(1)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def waiting_of(self, key: str) -> int:
        """How many turns of one key wait."""
        return self._of_key[key]

    @property
    def keys(self) -> Collection[str]:
        """Those of which turns wait."""
        return self._lines.keys()

    def kinds_of(self, key: str) -> Collection[Hashable]:
        """What turns of a key wait for."""
        return self._lines.get(key, {}).keys()

    def put(self, turn: T, kind: Hashable) -> int:
        """Lines up; how many wait now, this one included."""
        self._insert(turn, kind, next(self._arrivals))
        return self._size

    def move(self, turn: T, kind: Hashable) -> None:
        """It waits for something else from now on, and has waited for as long; nothing happens when it is not there."""
        arrival = self.remove(turn)
        if arrival is not None:
            self._insert(turn, kind, arrival)

    def remove(self, turn: T) -> int | None:
        """Leaves the queue; when it had come, if it was there."""
        kind = self._kinds.pop(turn, None)
        if kind is None:
            return None
        lines = self._lines[turn.key]
        waiting = lines[kind].waiting
        place = next(p for p, (_, other) in enumerate(waiting) if other is turn)
        arrival, _ = waiting[place]
        del waiting[place]
        self._size -= 1
        self._of_key[turn.key] -= 1
        if not waiting:
            del lines[kind]
        if not lines:
            del self._lines[turn.key]
            del self._of_key[turn.key]
        return arrival

    def next(
        self, held: Callable[[str], int], without: Collection[Hashable], is_busy: Callable[[str], bool]
    ) -> T | None:
        """Whoever is to be served first, among the kinds that are not ruled out; it stays in the queue.

        `held` tells how much a key has already, `is_busy` whether that is all it may have.
        """
        best: tuple[int, int] | None = None
        chosen: T | None = None
        for key, lines in self._lines.items():
            if is_busy(key):
                continue
            firsts = [line.waiting[0] for kind, line in lines.items() if kind not in without]
            if not firsts:
                continue
            arrival, turn = min(firsts, key=lambda first: first[0])
            claim = (held(key), arrival)
            if best is None or claim < best:
                best, chosen = claim, turn
        return chosen

    def _insert(self, turn: T, kind: Hashable, arrival: int) -> None:
        waiting = self._lines.setdefault(turn.key, {}).setdefault(kind, Line()).waiting
        place = len(waiting)
        while place and waiting[place - 1][0] > arrival:  # a few at the most, and none for whoever has just come
            place -= 1
        waiting.insert(place, (arrival, turn))
        self._kinds[turn] = kind
        self._size += 1
        self._of_key[turn.key] += 1
