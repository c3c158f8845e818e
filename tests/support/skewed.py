"""`python -m tests.support.skewed control|usage-worker`: a service whose wall clock is wrong.

The file named by SKEW_FILE says by how many seconds; it is read at the start.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path

from codex_lb.allinone.process import run_until_stopped
from codex_lb.allinone.settings import ProcessSettings
from codex_lb.control.app import services_of as control
from codex_lb.control.settings import ControlSettings
from codex_lb.kit.clock import SystemClock
from codex_lb.kit.health import Health
from codex_lb.kit.service import Stop, run_all
from codex_lb.kit.settings import load
from codex_lb.usage_worker.app import services_of as usage_worker
from codex_lb.usage_worker.settings import WorkerSettings

DRAIN_S = 30.0


class SkewedClock(SystemClock):
    """A clock that is off. Only the wall clock can be: nobody sets a monotonic one."""

    def __init__(self, skew_s: float) -> None:
        self._skew = timedelta(seconds=skew_s)

    def now(self) -> datetime:
        """The wrong time."""
        return super().now() + self._skew


def main() -> None:
    """Runs the service until it is stopped."""
    clock = SkewedClock(float(Path(os.environ["SKEW_FILE"]).read_text()))
    health = Health()
    services = {
        "control": lambda: control(load(ControlSettings), clock, health),
        "usage-worker": lambda: usage_worker(load(WorkerSettings), clock, health),
    }[sys.argv[1]]()

    async def run(stop: Stop) -> None:
        await run_all(services, stop, drain_s=DRAIN_S, on_ready=health.started)

    run_until_stopped(load(ProcessSettings), run)


if __name__ == "__main__":
    main()
