"""What every command that runs until it is stopped has in common: the event loop, the signals, the log."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

import uvloop

from codex_lb.allinone.settings import ProcessSettings
from codex_lb.kit.logging import LogFormat, configure_logging
from codex_lb.kit.service import Stop
from codex_lb.kit.signals import stop_on_signals

# Objects between two looks for garbage. Python's 700 are a few turns' worth, and the looking cost a tenth of each turn;
# garbage in cycles is rare in here, so that what waits this long to be found is some megabytes at most.
GARBAGE_OBJECTS_MIN = 20_000


def run_until_stopped(settings: ProcessSettings, work: Callable[[Stop], Awaitable[None]]) -> None:
    """Runs `work` with a flag that SIGTERM and Ctrl-C raise; a second one of them ends the process at once."""

    async def main() -> None:
        stop = Stop()
        async with stop_on_signals(stop):
            await work(stop)

    _run(main, settings.log_format, settings.log_level)


def run_once(main: Callable[[], Awaitable[None]]) -> None:
    """Runs a command that says itself what it does; the log has only what is not well."""
    _run(main, "text", "WARNING")


def _run(main: Callable[[], Awaitable[None]], log_format: LogFormat, log_level: str) -> None:
    async def awaited() -> None:
        await main()

    configure_logging(log_format, log_level)
    gc.set_threshold(GARBAGE_OBJECTS_MIN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(awaited())
