"""A bag from which things are drawn in proportion to their weights, in time that hardly grows with the bag. Pure."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class WeightedBag(Generic[T]):
    """A Fenwick tree over whole-number weights, so that nothing drifts however often weights change."""

    def __init__(self) -> None:
        self._things: list[T] = []
        self._weights: list[int] = []
        self._places: dict[T, int] = {}
        self._sums: list[int] = [0]  # of weights, in the tree's order; the first place is not used
        self.total = 0

    def weight(self, thing: T) -> int:
        """Its weight; 0 when it is not in the bag."""
        place = self._places.get(thing)
        return 0 if place is None else self._weights[place]

    def put(self, thing: T, weight: int) -> None:
        """Adds a thing, or gives one that is there another weight."""
        place = self._places.get(thing)
        if place is None:
            place = len(self._things)
            self._places[thing] = place
            self._things.append(thing)
            self._weights.append(0)
            self._sums.append(self._sum_below(place + 1))
        self._add(place, weight - self._weights[place])

    def remove(self, thing: T) -> None:
        """Takes a thing out; the last one takes its place."""
        place = self._places.pop(thing)
        self._add(place, -self._weights[place])
        last = len(self._things) - 1
        if place != last:
            moved, weight = self._things[last], self._weights[last]
            self._add(last, -weight)
            self._things[place] = moved
            self._places[moved] = place
            self._add(place, weight)
        self._things.pop()
        self._weights.pop()
        self._sums.pop()

    def at(self, mark: int) -> T:
        """The thing at a mark in [0, total): each holds as many marks as it weighs."""
        place, step = 0, 1 << (len(self._things).bit_length())
        while step:
            after = place + step
            if after <= len(self._things) and self._sums[after] <= mark:
                place = after
                mark -= self._sums[after]
            step >>= 1
        return self._things[place]

    def _add(self, place: int, weight: int) -> None:
        self.total += weight
        self._weights[place] += weight
        node = place + 1
        while node < len(self._sums):
            self._sums[node] += weight
            node += node & -node

    def _sum_below(self, node: int) -> int:
        """What a new last node of the tree holds: the sums of the nodes right below it."""
        below, stop, held = node - 1, node - (node & -node), 0
        while below > stop:
            held += self._sums[below]
            below -= below & -below
        return held
