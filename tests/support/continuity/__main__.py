"""python -m tests.support.continuity [SEQUENCES] [--first SEED]: plays that many sequences and says what they came to."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

import structlog

from tests.support.continuity.campaign import run_sequence
from tests.support.continuity.verdict import Verdict

PORTION = 100  # sequences that a process plays before it says how they went
SHOWN_MAX = 5  # problems of one sequence


def play(seeds: Iterable[int]) -> list[Verdict]:
    """Plays some, in this process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return [run_sequence(seed) for seed in seeds]


def played(seeds: range, processes: int) -> Iterator[Verdict]:
    """All of them, in their order."""
    portions = [seeds[n : n + PORTION] for n in range(0, len(seeds), PORTION)]
    if processes == 1:
        for portion in portions:
            yield from play(portion)
        return
    with ProcessPoolExecutor(processes) as pool:
        for verdicts in pool.map(play, portions):
            yield from verdicts


def main() -> int:
    """Exits 1 when anything happened that must not happen."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.continuity", description=__doc__)
    parser.add_argument("sequences", nargs="?", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--history", action="store_true", help="tell all that happened in sequences with problems")
    asked = parser.parse_args()
    if "PYTHONHASHSEED" not in os.environ:
        # Every process goes through sets in another order, unless told: with it, a seed is the same sequence again.
        command = [sys.executable, "-m", "tests.support.continuity", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606
    started, total, bad = time.monotonic(), Verdict(), 0
    for verdict in played(range(asked.first, asked.first + asked.sequences), asked.processes):
        total.add(verdict)
        if verdict.problems:
            bad += 1
            history = verdict.history if asked.history else []
            lines = [f"seed {verdict.seed}:", *history, *verdict.problems[:SHOWN_MAX]]
            print("\n  ".join(lines), flush=True)  # noqa: T201
    print(f"{asked.sequences} sequences in {time.monotonic() - started:.0f} s: {total.told()}; {bad} with problems")  # noqa: T201
    is_idle = not total.failures or not total.moves  # then nothing was tried
    return 1 if bad or is_idle else 0


if __name__ == "__main__":
    sys.exit(main())
