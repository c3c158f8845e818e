"""The machine's own time."""

from __future__ import annotations

from datetime import UTC

from codex_lb.kit.clock import Clock, SystemClock


def test_the_system_clock_tells_utc_and_never_runs_backwards() -> None:
    clock: Clock = SystemClock()

    before, now, after = clock.monotonic(), clock.now(), clock.monotonic()

    assert now.tzinfo is UTC
    assert before <= after
