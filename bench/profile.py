"""`python -m bench.profile short`: where the CPU of one load goes, function by function, gateway and control apart.

The kernel counts what every thread uses; then py-spy looks where the threads are, and what was counted is divided by
what was seen. "own" is a function with the C code it calls, "in all" with the functions it calls too. `--native` tells C
functions apart, `--lines` lines of code; `--raw folder` keeps the stacks for a flame graph.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvloop

from bench import others, stacks, subjects
from bench.loads import LOADS, Load
from bench.process import pin, threads_s
from bench.subjects import OTHER_CORE, Started, Subject

PY_SPY = "py-spy==0.4.3"  # this page's alone: installed when it is first asked for
SAMPLES_PER_S = 400
ROUND_S = 1.0
STARTED: dict[str, Started] = {"split": subjects.split, "all-in-one": subjects.all_in_one, "floor": others.floor}


@dataclass(frozen=True, slots=True)
class Counted:
    """Microseconds of CPU per turn, or per event."""

    threads: dict[int, float]  # by id
    names: dict[int, str]
    in_kernel: float


async def main(asked: argparse.Namespace) -> None:
    """Runs the load twice: once to count, once to look."""
    program = py_spy()
    os.sched_setaffinity(0, {OTHER_CORE})
    load = LOADS[asked.load]()
    unit = "turn" if load.per == 1 else "event"
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        async with (
            subjects.start_upstream() as upstream,
            STARTED[asked.subject](upstream.url, Path(name) / "subject") as subject,
        ):
            await load.begin(subject)
            await load.run(subject, ROUND_S)
            counted = await count(load, subject, asked.seconds)
            files = {part: f"{asked.raw or name}/{asked.load}-{part}.txt" for part in subject.parts}
            await look(program, load, subject, files, asked)
        for part, file in files.items():
            show(part, counted[part], stacks.read_stacks(read(file)), unit=unit, rows=asked.rows)


async def count(load: Load, subject: Subject, seconds: float) -> dict[str, Counted]:
    """What every part uses, undisturbed."""
    before = {part: (threads_s(pid), psutil.Process(pid).cpu_times().system) for part, pid in subject.parts.items()}
    turns = (await load.run(subject, seconds)).turns
    us = 1e6 / turns / load.per
    counted = {}
    for part, pid in subject.parts.items():
        used, system = before[part]
        threads = {thread: (s - used.get(thread, 0.0)) * us for thread, s in threads_s(pid).items()}
        names = {thread: read(f"/proc/{pid}/task/{thread}/comm").strip() for thread in threads}
        counted[part] = Counted(threads, names, (psutil.Process(pid).cpu_times().system - system) * us)
    return counted


async def look(program: str, load: Load, subject: Subject, files: Mapping[str, str], asked: argparse.Namespace) -> None:
    """Writes a file of stacks for every part, while the load goes on."""
    flags = ["--native"] if asked.native else []
    flags += [] if asked.lines else ["--function"]
    spies = [spy(program, subject.parts[part], file, asked.seconds, flags) for part, file in files.items()]
    try:
        ended = asyncio.gather(*(asyncio.to_thread(one.communicate) for one in spies))
        while not ended.done():
            await load.run(subject, ROUND_S)
        for one, (_, said) in zip(spies, await ended, strict=True):
            if one.returncode:
                raise SystemExit(f"py-spy could not look: {said.decode()}")
    finally:
        for one in spies:
            one.kill()


def spy(program: str, pid: int, file: str, seconds: float, flags: Sequence[str]) -> subprocess.Popen[bytes]:
    """py-spy, started on the core that is not measured."""
    command = [program, "record", "--pid", str(pid), "--duration", str(round(seconds)), "--rate", str(SAMPLES_PER_S)]
    command += ["--threads", "--format", "raw", "--output", file, *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    pin(process.pid, OTHER_CORE)
    return process


def read(file: str) -> str:
    """A text."""
    return Path(file).read_text()


def show(part: str, counted: Counted, seen: Sequence[stacks.Stack], *, unit: str, rows: int) -> None:
    """Prints what a part costs, thread by thread, package by package, function by function."""
    total = sum(counted.threads.values())
    print(f"\n=== {part}: {total:.1f} us of CPU per {unit}, {counted.in_kernel / total:.0%} of it in the kernel")
    names = counted.names | {stack.thread: stack.name for stack in seen}  # py-spy knows those that run Python
    found = stacks.weighed(seen, counted.threads)
    table("threads", {f"{names[n]} ({n})": us for n, us in counted.threads.items()}, total, unit, 8)
    table("packages, own", stacks.by_package(found), total, unit, rows)
    table("functions, own", stacks.own(found), total, unit, rows)
    table("functions, in all", stacks.in_all(found), total, unit, 2 * rows)


def table(title: str, found: Mapping[str, float], total: float, unit: str, rows: int) -> None:
    """The greatest first; what is less than a thousandth is left out."""
    print(f"\n  {title:<78} us per {unit}   share")
    for name, us in sorted(found.items(), key=lambda item: -item[1])[:rows]:
        if us >= total / 1000:
            print(f"  {name:<78} {us:12.2f}  {us / total:6.1%}")


def py_spy() -> str:
    """The program, installed when it is not there."""
    program = Path(sys.executable).parent / "py-spy"
    if not program.exists():
        print(f"Installing {PY_SPY}", flush=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "-qq", "--no-deps", PY_SPY], check=True)
    return str(program)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description="Shows where the CPU of a load goes.")
    parser.add_argument("load", choices=[*LOADS], help="what is asked for")
    parser.add_argument("--subject", choices=[*STARTED], default="split", help="of whom")
    parser.add_argument("--seconds", type=float, default=6.0, help="how long is counted, and how long looked")
    parser.add_argument("--rows", type=int, default=25, help="how many functions are shown")
    parser.add_argument("--native", action="store_true", help="tell functions in C apart")
    parser.add_argument("--lines", action="store_true", help="lines instead of functions")
    parser.add_argument("--raw", help="a folder that keeps the stacks, in the form that flame graphs are made from")
    return parser.parse_args()


if __name__ == "__main__":
    wanted = arguments()
    if wanted.raw:
        Path(wanted.raw).mkdir(parents=True, exist_ok=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(wanted))
