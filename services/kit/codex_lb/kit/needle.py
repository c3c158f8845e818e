"""Looks for a few bytes in many: in a body of megabytes ten times as fast as `in` does."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from ahocorasick_rs import BytesAhoCorasick

WINDOW_BYTES = 64 * 2**10  # searched at a time: the crate tells all that it finds, and a body may hold a million of it

Data = bytes | msgspec.Raw


class Needle:
    """What is looked for. A single string makes the crate behind this take its vectorised search (memchr's memmem)."""

    def __init__(self, sought: bytes) -> None:
        self._find = BytesAhoCorasick([sought]).find_matches_as_indexes
        self._overlap = len(sought) - 1

    def is_in(self, data: Data) -> bool:
        """Whether the data holds it."""
        view = memoryview(data)
        if len(view) <= WINDOW_BYTES:
            return bool(self._find(view))
        return any(self._find(self._window(view, start)) for start in range(0, len(view), WINDOW_BYTES))

    def places(self, data: Data) -> Iterator[int]:
        """Where the data holds it, the last first."""
        view = memoryview(data)
        for start in reversed(range(0, len(view), WINDOW_BYTES)):
            for _, at, _ in reversed(self._find(self._window(view, start))):
                yield start + at

    def _window(self, view: memoryview, start: int) -> memoryview:
        """So much that what begins in it ends in it."""
        return view[start : start + WINDOW_BYTES + self._overlap]
