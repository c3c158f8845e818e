"""`python -m bench`: all figures, or those named; see README.md beside this."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from bench import figures as f
from bench import forms, results, subjects
from bench.loads import LOADS
from bench.subjects import OTHER_CORE, Started, Subject, start_upstream

Figure = Callable[[Sequence[Subject], Subject, int], Awaitable[f.Figures]]

COSTS = {  # what the figure of a load is called
    "short": "short turn, CPU us",
    "long": "long stream, CPU us per event",
    "paced": "paced stream, CPU us per event",
    "chat": "chat stream, CPU us per event",
    "body": "8 MB body, CPU us",
    "zstd": "8 MB zstd body, CPU us",
}


def cost(load: str) -> Figure:
    """What a load costs every subject that understands it."""

    async def measured(running: Sequence[Subject], _direct: Subject, rounds: int) -> f.Figures:
        able = [one for one in running if load != "chat" or one.system is not None]
        return await f.cpu(COSTS[load], LOADS[load](), able, rounds=rounds, seconds=2.0)

    return measured


FIGURES: dict[str, Figure] = {
    "memory": lambda s, _, __: f.stream_memory(s),  # first, while nothing else has left its traces
    **{load: cost(load) for load in COSTS},
    "first-byte": lambda s, d, n: f.first_byte(s, d, rounds=n, seconds=6.0),
    "events": lambda s, d, n: f.event_delay(s, d, rounds=min(n, 3), seconds=6.0),
}
FORMS = {"start": forms.start, "gateways": forms.gateways, "scale": forms.scale}
STARTED: dict[str, Started] = {
    "split": subjects.split,
    "all-in-one": subjects.all_in_one,
    "floor": subjects.floor,
    "nginx": subjects.nginx,
}


async def main(wanted: Sequence[str], against: Sequence[str], rounds: int, *, is_kept: bool) -> None:
    """Measures, compares with the last results, and keeps them."""
    os.sched_setaffinity(0, {OTHER_CORE})
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    found: f.Figures = {}

    def report(figures: f.Figures) -> None:
        found.update(figures)
        results.show(figures, results.last())

    try:
        async with AsyncExitStack() as stack:
            upstream = await stack.enter_async_context(start_upstream())
            running = [await stack.enter_async_context(STARTED[name](upstream, folder / name)) for name in against]
            direct = await stack.enter_async_context(subjects.nothing(upstream, folder))
            for name in wanted:
                if name in FIGURES:
                    report(await FIGURES[name](running, direct, rounds))
        async with start_upstream() as upstream:
            for name in wanted:
                if name in FORMS:
                    report(await FORMS[name](upstream, folder, rounds=min(rounds, 3)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if is_kept:
        results.keep(found)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    known = [name for name in STARTED if name != "nginx" or shutil.which("nginx")]
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures CPU, latency and memory.")
    parser.add_argument(
        "figures", nargs="*", choices=[[], *FIGURES, *FORMS], help="which figures; all of them without any"
    )
    parser.add_argument("--against", nargs="+", choices=known, default=known, help="which subjects")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    parser.add_argument("--keep", action="store_true", help="write the results to bench/results")
    return parser.parse_args()


if __name__ == "__main__":
    asked = arguments()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(asked.figures or [*FIGURES, *FORMS], asked.against, asked.rounds, is_kept=asked.keep))
