"""The figures, each from interleaved rounds: every subject in turn, round after round, and the median of it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from statistics import median

from bench.load import open_loop, together
from bench.loads import Load, body
from bench.process import cpu_s, memory_bytes
from bench.subjects import Subject

Figures = dict[str, dict[str, float]]  # figure -> subject (or a part of one) -> value


async def cpu(name: str, load: Load, subjects: Sequence[Subject], *, rounds: int, seconds: float) -> Figures:
    """Microseconds of CPU per turn, or per event of a turn; in all and part by part."""
    for subject in subjects:
        await load.run(subject, seconds)  # connections, caches, plans
    seen: dict[str, list[float]] = {}
    for _ in range(rounds):
        for subject in subjects:
            before = {part: cpu_s([pid]) for part, pid in subject.parts.items()}
            turns = (await load.run(subject, seconds)).turns
            used = {part: cpu_s([pid]) - before[part] for part, pid in subject.parts.items()}
            parts = used if len(used) > 1 else {}
            for part, used_s in {subject.name: sum(used.values()), **parts}.items():
                seen.setdefault(part, []).append(used_s / turns / load.per * 1e6)
    return {name: {part: median(values) for part, values in seen.items()}}


async def first_byte(subjects: Sequence[Subject], direct: Subject, *, rounds: int, seconds: float) -> Figures:
    """Time to first byte at 50 turns a second with 20 KB each, whoever waits; less that of the upstream itself."""
    data = body(20 * 2**10)

    async def run(subject: Subject) -> list[float]:
        sent = subject.request(data, "40 200 10")
        return (await open_loop(subject.url, sent, per_second=50, seconds=seconds)).first_byte_s

    return await _added("first byte", subjects, direct, run, rounds=rounds)


async def event_delay(subjects: Sequence[Subject], direct: Subject, *, rounds: int, seconds: float) -> Figures:
    """How much later an event arrives when 200 streams have ten a second each."""
    data = body(1024)

    async def run(subject: Subject) -> list[float]:
        sent = subject.request(data, f"{int(seconds * 10)} 200 100")
        return (await together(subject.url, sent, streams=200, within_s=1.0, midway=lambda: None)).event_s

    return await _added("event of 200 streams", subjects, direct, run, rounds=rounds)


async def stream_memory(subjects: Sequence[Subject], *, streams: int = 400) -> Figures:
    """What a subject takes of memory, idle and per running stream."""
    figures: Figures = {"memory idle, MB": {}, "memory per stream, KB": {}}
    for subject in subjects:
        before = memory_bytes(subject.pids)
        during: list[int] = []
        await together(
            subject.url,
            subject.request(body(1024), "40 200 100"),
            streams=streams,
            within_s=1.0,
            midway=lambda s=subject, d=during: d.append(memory_bytes(s.pids)),  # type: ignore[misc]  # defaults bind now
        )
        for part, pid in subject.parts.items():
            figures["memory idle, MB"][part] = memory_bytes([pid]) / 1e6
        figures["memory per stream, KB"][subject.name] = (during[0] - before) / streams / 1e3
    return figures


async def _added(
    name: str,
    subjects: Sequence[Subject],
    direct: Subject,
    run: Callable[[Subject], Awaitable[list[float]]],
    *,
    rounds: int,
) -> Figures:
    """Milliseconds that a subject adds at the median and at the 99th of a hundred."""
    seen: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        base = _quantiles(await run(direct))
        for subject in subjects:
            p50, p99 = _quantiles(await run(subject))
            seen.setdefault(subject.name, []).append((p50 - base[0], p99 - base[1]))
    return {
        f"{name}, added ms p50": {s: median(p50 for p50, _ in values) * 1e3 for s, values in seen.items()},
        f"{name}, added ms p99": {s: median(p99 for _, p99 in values) * 1e3 for s, values in seen.items()},
    }


def _quantiles(values: list[float]) -> tuple[float, float]:
    values = sorted(values)
    return values[len(values) // 2], values[math.ceil(len(values) * 0.99) - 1]
