"""python -m tests.support.continuity [SEQUENCES] [--first SEED]: plays that many sequences and says what they came to."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

import structlog

from tests.support.continuity.campaign import Verdict, run_sequence

COUNTED = ("turns", "attempts", "failures", "moves", "healed", "bolts", "drowned", "forgotten", "calls")
SHOWN_MAX = 20


def play(seeds: Iterable[int]) -> list[Verdict]:
    """Plays some, in this process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return [run_sequence(seed) for seed in seeds]


def main() -> int:
    """Exits 1 when anything happened that must not happen."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.continuity", description=__doc__)
    parser.add_argument("sequences", nargs="?", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    if "PYTHONHASHSEED" not in os.environ:
        # Every process goes through sets in another order, unless told: with it, a seed is the same sequence again.
        command = [sys.executable, "-m", "tests.support.continuity", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606
    started, totals, bad = time.monotonic(), Counter[str](), list[Verdict]()
    last = asked.first + asked.sequences
    portions = [range(n, min(n + 100, last)) for n in range(asked.first, last, 100)]
    with ProcessPoolExecutor(asked.processes) as pool:
        for verdicts in pool.map(play, portions):
            for verdict in verdicts:
                totals.update({name: getattr(verdict, name) for name in COUNTED})
                bad += [verdict] if verdict.problems else []
    for verdict in bad[:SHOWN_MAX]:
        sys.stdout.write("\n  ".join([f"seed {verdict.seed}:", *verdict.problems[:5]]) + "\n")
    numbers = ", ".join(f"{name} {totals[name]}" for name in COUNTED)
    took_s = time.monotonic() - started
    sys.stdout.write(f"{asked.sequences} sequences in {took_s:.0f} s: {numbers}; {len(bad)} with problems\n")
    is_idle = not totals["failures"] or not totals["moves"]  # then nothing was tried
    return 1 if bad or is_idle else 0


if __name__ == "__main__":
    sys.exit(main())
