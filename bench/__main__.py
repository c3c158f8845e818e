"""`python -m bench`: all figures, or those named; see README.md beside this."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from random import Random

import uvloop
import zstandard

from bench import figures as f
from bench import forms, results, subjects
from bench.subjects import OTHER_CORE, Subject, start_upstream

Figure = Callable[[Sequence[Subject], Subject, int], Awaitable[f.Figures]]

FIGURES: dict[str, Figure] = {
    "memory": lambda s, _, __: f.stream_memory(s),  # first, while nothing else has left its traces
    "short": lambda s, _, n: f.short_turn(s, rounds=n, seconds=2.0),
    "long": lambda s, _, n: f.long_stream(s, rounds=n, seconds=2.0),
    "paced": lambda s, _, n: f.paced_stream(s, rounds=n, seconds=2.0),
    "chat": lambda s, _, n: f.chat([one for one in s if one.system is not None], rounds=n, seconds=2.0),
    "body": lambda s, _, n: f.large_body(s, rounds=n, seconds=2.0, packed=None),
    "zstd": lambda s, _, n: f.large_body(s, rounds=n, seconds=2.0, packed=packed_body()),
    "first-byte": lambda s, d, n: f.first_byte(s, d, rounds=n, seconds=6.0),
    "events": lambda s, d, n: f.event_delay(s, d, rounds=min(n, 3), seconds=6.0),
}
FORMS = {"start": forms.start, "gateways": forms.gateways, "scale": forms.scale}
Started = Callable[[str, Path], AbstractAsyncContextManager[Subject]]
STARTED: dict[str, Started] = {
    "split": subjects.split,
    "all-in-one": subjects.all_in_one,
    "floor": subjects.floor,
    "nginx": subjects.nginx,
}


def packed_body() -> bytes:
    """8 MB that zstd packs as it packs a conversation: to about a quarter."""
    words = [f"{number:x} " for number in Random(1).choices(range(2**16), k=2 * 2**20)]
    text = "".join(words)[: 8 * 2**20].encode()
    return zstandard.compress(f.body(2**10).replace(b"x" * 700, text))


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
