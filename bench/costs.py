"""What turns cost in CPU: subjects take turns, round after round, and the kernel counts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from bench import names as n
from bench.loads import LOADS, Load
from bench.measured import Figures, Measured, Rounds
from bench.process import awake, beside, cpu_s
from bench.subjects import Source, Subject
from bench.targets import FLOOR, TOOLS

COSTS = {  # what the figure of a load is called
    "short": n.SHORT,
    "long": n.LONG,
    "paced": n.PACED,
    "chat": n.CHAT,
    "codex": n.CODEX,
    "body": n.BODY,
    "zstd": n.ZSTD,
}
PER_CORE = {n.SHORT: n.TURNS_PER_CORE, n.LONG: n.EVENTS_PER_CORE}


async def cost(
    name: str, load: Load, subjects: Sequence[Subject], source: Source, *, rounds: int, seconds: float
) -> Figures:
    """Microseconds of CPU per turn, or per event of a turn; in all, part by part, and of the bench itself."""
    for subject in subjects:
        with turn_of(subject):
            await load.begin(subject)
            await load.run(subject, seconds)  # connections, caches, plans
    seen = Rounds()
    with beside(urgent=False) as others:
        for _ in range(rounds):
            for subject in subjects:
                with turn_of(subject):
                    used = await one_round(load, subject, source, seconds)
                for part, us in used.items():
                    seen.add(part, us)
    found = seen.measured(others.note)
    return {name: found, **({PER_CORE[name]: carried(found)} if name in PER_CORE else {})}


def turn_of(subject: Subject) -> AbstractContextManager[None]:
    """While it is measured."""
    return awake(subject.pids) if subject.is_peer else nullcontext()


async def one_round(load: Load, subject: Subject, source: Source, seconds: float) -> dict[str, float]:
    """What a subject uses for each turn or event, and its parts when it has several."""
    before = {part: cpu_s([pid]) for part, pid in subject.parts.items()}
    tools = time.process_time() + cpu_s([source.pid])
    turns = (await load.run(subject, seconds)).turns
    used = {part: cpu_s([pid]) - before[part] for part, pid in subject.parts.items()}
    found = {subject.name: sum(used.values()), **(used if len(used) > 1 else {})}
    if subject.name == FLOOR:
        found[TOOLS] = time.process_time() + cpu_s([source.pid]) - tools
    return {part: used_s / turns / load.per * 1e6 for part, used_s in found.items()}


def carried(cost_us: Measured) -> Measured:
    """How many a second take a whole core's CPU; of something in several processes, when all of them share the core."""
    rounds = {part: [1e6 / us for us in seen] for part, seen in cost_us.rounds.items() if part != TOOLS}
    return Measured(rounds, cost_us.note)


async def short_by_name(
    name: str, subjects: Mapping[str, Subject], source: Source, *, rounds: int, seconds: float
) -> Figures:
    """CPU of a short turn of several products, each in all under a name of its own."""
    called = [replace(subject, name=by_name) for by_name, subject in subjects.items()]
    found = await cost(name, LOADS["short"](), called, source, rounds=rounds, seconds=seconds)
    return {name: Measured({part: found[name].rounds[part] for part in subjects}, found[name].note)}
