"""Figures of the product in forms of its own: with many accounts, with several gateways, and just being started."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

import httpx

from bench.figures import Figures, cpu
from bench.load import closed_loop
from bench.loads import CLIENTS, LOADS, SHORT, body
from bench.process import cpu_s, tree, unpin
from bench.subjects import QUIET, Subject, all_in_one, made, split
from tests.support.system import http_client, start_all_in_one, until
from tests.support.upstream import Upstream

SIZES = (10, 1_000, 10_000)


async def scale(upstream: str, folder: Path, *, rounds: int) -> Figures:
    """CPU of a short turn with ever more accounts."""
    async with AsyncExitStack() as stack:
        subjects = []
        for accounts in SIZES:
            one = await stack.enter_async_context(split(upstream, folder / str(accounts), accounts=accounts))
            subjects.append(replace(one, name=f"{accounts:,} accounts"))
        found = await cpu("short turn by pool, CPU us", LOADS["short"](), subjects, rounds=rounds, seconds=1.0)
    name, values = next(iter(found.items()))
    return {name: {part: value for part, value in values.items() if part.endswith("accounts")}}


async def gateways(upstream: str, folder: Path, *, rounds: int) -> Figures:
    """Turns a second that two cores carry, by what CPU each process needs: the fullest decides, or both cores' sum."""
    carried: dict[str, float] = {}
    for number in (1, 2):
        env = {"CODEX_LB_GATEWAYS": str(number)}
        async with all_in_one(upstream, folder / f"gateways-{number}", env=env) as subject:
            carried[f"--gateways {number}"] = median([await _carried(subject) for _ in range(rounds)])
    return {"turns/s that two cores carry": carried}


async def _carried(subject: Subject) -> float:
    [root] = subject.pids
    unpin(root)
    pids = tree(root)
    data = subject.request(body(1024), SHORT)
    before = {pid: cpu_s([pid], alone=True) for pid in pids}
    turns = (await closed_loop(subject.url, data, clients=4 * CLIENTS, seconds=2.0)).turns
    used = [(cpu_s([pid], alone=True) - before[pid]) / turns for pid in pids]
    return min(1 / max(used), 2 / sum(used))


async def start(upstream: str, folder: Path, *, rounds: int) -> Figures:
    """Seconds from `codex-lb serve` to its first answer, and the CPU it took, with a data folder that is there."""
    took: list[float] = []
    cpu: list[float] = []
    made(folder / "start")
    async with http_client(upstream) as client:
        for _ in range(rounds + 1):
            at = Upstream(upstream, 0, client)
            async with start_all_in_one(at, folder / "start", env=QUIET, wait=False) as system:
                started = time.monotonic()

                async def answers() -> bool:
                    try:
                        return (await system.client.get("/v1/models")).status_code == 200
                    except httpx.TransportError:
                        return False

                await until(answers, what="first answer", log=system)
                took.append(time.monotonic() - started)
                cpu.append(cpu_s([system.control.pid]))
                await system.control.stop()
    return {
        "start, s to the first answer": {"all-in-one": median(took[1:])},
        "start, CPU s": {"all-in-one": median(cpu[1:])},
    }
