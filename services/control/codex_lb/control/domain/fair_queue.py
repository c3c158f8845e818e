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


class Waits(Protocol):
    """What waits in a queue."""

    @property
    def key(self) -> str:
        """Who is to get a fair share."""
        ...

    @property
    def kind(self) -> Hashable:
        """What it waits for: where one of a kind cannot be served, none of the kind can."""
        ...


T = TypeVar("T", bound=Waits)


@dataclass(slots=True)
class Line(Generic[T]):
    """Those of one key and one kind, in the order in which they came."""

    waiting: deque[tuple[int, T]] = field(default_factory=deque)


class FairQueue(Generic[T]):
    """Everybody who waits."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[Hashable, Line[T]]] = {}
        self._of_key: Counter[str] = Counter()
        self._arrivals = count(1)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def waiting_of(self, key: str) -> int:
        """How many turns of one key wait."""
        return self._of_key[key]

    def put(self, turn: T) -> int:
        """Lines up; how many wait now, this one included."""
        line = self._lines.setdefault(turn.key, {}).setdefault(turn.kind, Line())
        line.waiting.append((next(self._arrivals), turn))
        self._size += 1
        self._of_key[turn.key] += 1
        return self._size

    def remove(self, turn: T) -> None:
        """Leaves the queue; nothing happens when it is not there."""
        lines = self._lines.get(turn.key, {})
        line = lines.get(turn.kind)
        place = next((p for p, (_, other) in enumerate(line.waiting) if other is turn), None) if line else None
        if line is None or place is None:
            return
        del line.waiting[place]
        self._size -= 1
        self._of_key[turn.key] -= 1
        if not line.waiting:
            del lines[turn.kind]
        if not lines:
            del self._lines[turn.key]
            del self._of_key[turn.key]

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
