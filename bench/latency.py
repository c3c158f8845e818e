"""What subjects add to the time that clients wait, at a rate that does not depend on how they answer.

Less what upstream alone takes in the same round. Rounds are added until the last ones agree.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from bench import names as n
from bench.load import open_loop, together
from bench.loads import body
from bench.measured import Figures, Rounds, is_steady, quantile
from bench.process import beside
from bench.subjects import Subject

PER_SECOND, STREAMS, EVENTS_PER_SECOND = 50, 200, 10
ROUNDS_MAX = 5
NOBODY_MINDS_MS = 1.5  # a tenth of what is allowed at the 99th of a hundred
Run = Callable[[Subject], Awaitable[list[float]]]


async def first_byte(subjects: Sequence[Subject], direct: Subject, *, seconds: float) -> Figures:
    """Until the first byte of 50 turns a second with 20 KB each, since each was due."""
    data = body(20 * 2**10)

    async def run(subject: Subject) -> list[float]:
        sent = subject.request(data, "40 200 10")
        return (await open_loop(subject.url, sent, per_second=PER_SECOND, seconds=seconds)).first_byte_s

    return await _added((n.FIRST_BYTE_P50, n.FIRST_BYTE_P99), subjects, direct, run)


async def event_delay(subjects: Sequence[Subject], direct: Subject, *, seconds: float) -> Figures:
    """From upstream's writing of an event to its arrival, when 200 streams have ten a second each."""
    data = body(1024)

    async def run(subject: Subject) -> list[float]:
        sent = subject.request(data, f"{int(seconds * EVENTS_PER_SECOND)} 200 {1000 // EVENTS_PER_SECOND}")
        return (await together(subject.url, sent, streams=STREAMS, within_s=1.0, midway=lambda: None)).event_s

    return await _added((n.EVENT_P50, n.EVENT_P99), subjects, direct, run)


async def _added(names: tuple[str, str], subjects: Sequence[Subject], direct: Subject, run: Run) -> Figures:
    """Milliseconds at the median and at the 99th of a hundred."""
    shares = dict(zip(names, (0.5, 0.99), strict=True))
    seen = {name: Rounds() for name in names}
    with beside(urgent=True) as others:
        for subject in subjects:
            await run(subject)  # connections
        for _ in range(ROUNDS_MAX):
            base = await run(direct)
            for subject in subjects:
                waits = await run(subject)
                for name, share in shares.items():
                    seen[name].add(subject.name, (quantile(waits, share) - quantile(base, share)) * 1e3)
            if all(_are_steady(rounds) for rounds in seen.values()):
                break
    return {
        name: rounds.measured(f"{others.note}{'' if _are_steady(rounds) else '; rounds did not come to agree'}")
        for name, rounds in seen.items()
    }


def _are_steady(rounds: Rounds) -> bool:
    return all(is_steady(seen, within=NOBODY_MINDS_MS) for seen in rounds.seen.values())
