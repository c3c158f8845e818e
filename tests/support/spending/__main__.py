"""Plays campaigns and prints what was done: python -m tests.support.spending STEPS [SEED [SEEDS]]."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.support.databases import migrated_sqlite
from tests.support.redis_server import running_redis
from tests.support.spending.shared import play


def main() -> None:
    """Plays campaigns and prints what was done."""
    steps, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    seeds = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    with running_redis() as redis, tempfile.TemporaryDirectory() as name:
        template = migrated_sqlite(Path(name))
        for seed in range(first, first + seeds):
            for server in (None, redis):
                started = time.monotonic()
                done = asyncio.run(play(steps, seed, Path(name), template, server))
                where = "one control" if server is None else "two controls"
                took_s = time.monotonic() - started
                print(f"{where}, {steps:,} steps in {took_s:.0f} s, seed {seed}: {dict(done)}", file=sys.stdout)  # noqa: T201 - a command


if __name__ == "__main__":
    main()
