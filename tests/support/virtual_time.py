"""Time that jumps: a loop whose clock moves on by itself whenever everybody waits, so that hours pass in milliseconds.

Nothing is patched: asyncio asks its loop what time it is, and its selector to wait. For tests in one process without
sockets; with the same seed the same things happen in the same order.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from tests.support.clock import NOON

T = TypeVar("T")


class StuckError(AssertionError):
    """Everybody waits for somebody else."""


class JumpingSelector(selectors.BaseSelector):
    """A selector that does not wait: the time that it should have waited has passed."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if not ready:
            if timeout is None:
                raise StuckError("nothing will ever happen again")
            self.now_s += max(0.0, timeout)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


class JumpingLoop(asyncio.SelectorEventLoop):
    """The loop on that selector."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


class LoopClock:
    """The Clock of whoever runs on such a loop; it is noon when the loop is new."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> datetime:
        """The present instant."""
        return NOON + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        """Seconds since the loop was made."""
        return self._loop.time()


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Runs it to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)
