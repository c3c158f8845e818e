"""`python -m bench`: all figures, or those named; see README.md beside this."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench import costs, forms, latency, ledger, memory, others, peers, subjects, table
from bench.loads import LOADS
from bench.measured import Figures
from bench.subjects import OTHER_CORE, Source, Started, Subject, start_upstream
from bench.targets import PEERS, Verdict

CPU_S = 0.6  # how long a subject is loaded in one round
OURS: Sequence[Started] = (subjects.split, subjects.all_in_one)
PACED_ROUNDS_MAX = 4  # the streams' own pace decides how long a round takes


@dataclass(frozen=True, slots=True)
class Field:
    """What is at hand when a figure is measured."""

    source: Source
    folder: Path
    rounds: int
    fresh: Sequence[Started]  # subjects that can be started anew
    subjects: Sequence[Subject] = ()  # those that run, side by side

    def for_load(self, load: str) -> list[Subject]:
        """Those that understand it."""
        return [subject for subject in self.subjects if load in subject.loads]


Figure = Callable[[Field], Awaitable[Figures]]


def cost(load: str) -> Figure:
    """What a load costs every subject that understands it."""

    async def measured(at: Field) -> Figures:
        return await costs.cost(
            costs.COSTS[load],
            LOADS[load](),
            at.for_load(load),
            at.source,
            rounds=min(at.rounds, PACED_ROUNDS_MAX) if load == "paced" else at.rounds,
            seconds=CPU_S,
        )

    return measured


async def waits(at: Field, run: Callable[[Sequence[Subject], Subject], Awaitable[Figures]]) -> Figures:
    """A latency, against upstream asked directly."""
    async with others.nothing(at.source.url, at.folder) as direct:
        return await run(at.for_load("waits"), direct)


SIDE_BY_SIDE: dict[str, Figure] = {
    "idle": lambda at: memory.idle(at.subjects),  # first, while nothing else has left its traces
    **{load: cost(load) for load in costs.COSTS},
    "first-byte": lambda at: waits(at, lambda s, d: latency.first_byte(s, d, seconds=5.0)),
    "events": lambda at: waits(at, lambda s, d: latency.event_delay(s, d, seconds=5.0)),
}
ALONE: dict[str, Figure] = {
    "streams": lambda at: memory.per_stream(at.fresh, at.source.url, at.folder),
    "sockets": lambda at: memory.sockets(OURS, at.source.url, at.folder),
    "peaks": lambda at: memory.peaks(at.fresh, at.source.url, at.folder),
    "checks": lambda at: forms.checks(at.source, at.folder, rounds=at.rounds),
    "gateways": lambda at: forms.gateways(at.source, at.folder, rounds=at.rounds),
    "start": lambda at: forms.start(at.source, at.folder),
    "pools": lambda at: forms.pools(at.source, at.folder, rounds=at.rounds),
}
ON_REQUEST: dict[str, Figure] = {
    "growth": lambda at: memory.growth(OURS, at.source.url, at.folder),
}
STARTED: dict[str, Started] = {
    "split": subjects.split,
    "all-in-one": subjects.all_in_one,
    "floor": others.floor,
    "nginx": others.nginx,
    "litellm": peers.litellm,
    "monolith": peers.monolith,
    "monolith-http": peers.monolith_by_http,
}


async def main(wanted: Sequence[str], against: Sequence[str], rounds: int) -> tuple[Figures, list[str]]:
    """Measures, and tells each figure as soon as it is there; the figures, and those that could not be measured."""
    os.sched_setaffinity(0, {OTHER_CORE})
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    before, found = ledger.figures_of(ledger.read()), Figures()
    failed: list[str] = []

    async def measure(name: str, figure: Figure, at: Field) -> None:
        started = time.monotonic()
        try:
            measured = await figure(at)
        except Exception:  # whatever it is, the other figures are worth having
            traceback.print_exc()
            failed.append(name)
            return
        found.update(measured)
        for title, one in measured.items():
            print("\n".join(table.figure(title, one, before.get(title))))
        print(f"    [{name}: {time.monotonic() - started:.0f} s]", flush=True)

    fresh = [STARTED[name] for name in against if name in ("split", "all-in-one", "floor")]
    try:
        if SIDE_BY_SIDE.keys() & set(wanted):
            async with AsyncExitStack() as stack:
                source = await stack.enter_async_context(start_upstream())
                starts = (STARTED[name](source.url, folder / name) for name in against)
                running = [await stack.enter_async_context(start) for start in starts]
                for name in wanted:
                    if name in SIDE_BY_SIDE:
                        await measure(name, SIDE_BY_SIDE[name], Field(source, folder, rounds, fresh, running))
        async with start_upstream() as source:
            for name in wanted:
                if figure := ALONE.get(name) or ON_REQUEST.get(name):
                    await measure(name, figure, Field(source, folder, rounds, fresh))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    tell(found, before)
    return found, failed


def tell(found: Figures, before: Figures) -> None:
    """Prints the verdicts."""
    rows = [("target", "bound", "reached", "verdict", "kept last"), *table.verdicts(found, before)]
    print("\n" + "\n".join(table.columns([row for row in rows if row[3] != Verdict.NOT_RUN])))
    not_run = [f"  {what} {bound}" for what, bound, _, verdict, _ in rows if verdict == Verdict.NOT_RUN]
    print("\n".join(["\nnot run:", *not_run]) if not_run else "\nevery target was measured")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    known = [name for name in STARTED if name != "nginx" or shutil.which("nginx")]
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures CPU, latency and memory.")
    every = [*SIDE_BY_SIDE, *ALONE, *ON_REQUEST]
    parser.add_argument("figures", nargs="*", choices=[[], *every], help="which; without any, all but growth")
    parser.add_argument("--against", nargs="+", choices=known, help="which subjects; without it, all but the peers")
    parser.add_argument(
        "--peers", action="store_true", help="LiteLLM and Soju06/codex-lb too; installed when not there"
    )
    parser.add_argument("--rounds", type=int, default=10, help="how often each is measured")
    parser.add_argument("--keep", action="store_true", help="write the results to bench/results")
    asked = parser.parse_args()
    asked.against = asked.against or [name for name in known if asked.peers or name not in PEERS]
    return asked


if __name__ == "__main__":
    asked = arguments()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found, failed = runner.run(main(asked.figures or [*SIDE_BY_SIDE, *ALONE], asked.against, asked.rounds))
    if asked.keep:
        ledger.keep(found, ledger.now())
    raise SystemExit(f"could not be measured: {', '.join(failed)}" if failed else 0)
