"""A sequence in portions, where all of it at once would take too long, or be too much for one statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def portions(everything: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The same in its order, so many at a time."""
    for start in range(0, len(everything), size):
        yield everything[start : start + size]
