"""What subjects take of memory: what `ps` calls resident, of each process in full."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from bench import names as n
from bench.load import closed_loop, together
from bench.loads import CLIENTS, LARGE_BYTES, LOADS, SHORT, Repeated, body
from bench.measured import Figures, Measured, Rounds, least_rise, quantile
from bench.process import beside, forget_peaks, memory_bytes, peak_bytes
from bench.sockets import SocketClient, open_socket
from bench.subjects import PATH, Started, Subject

STREAMS = 400
SOCKETS, SOCKET_TURNS, SOCKET_TURNS_APART_S = 1_000, 100, 0.02
SOCKETS_AT_ONCE, SOCKET_TURNS_BEFORE = 20, 10
AT_ONCE, SMALL_TURNS = 8, 200
SETTLED_WITHIN_S = 120.0
GROWTH_TURNS, GROWTH_STEP, LEAK_STEPS, CONVERSATIONS = 200_000, 5_000, 10, 10_000


async def idle(subjects: Sequence[Subject]) -> Figures:
    """Before the first turn, with accounts and keys known; every process by itself."""
    return {n.IDLE: Measured({part: [memory_bytes([pid]) / 1e6] for s in subjects for part, pid in s.parts.items()})}


async def per_stream(started: Sequence[Started], upstream: str, folder: Path) -> Figures:
    """What 400 streams that run side by side add, in something that is fresh but for a few turns."""
    seen = Rounds()
    for place, start in enumerate(started):
        async with start(upstream, folder / f"streams-{place}") as subject:
            before = await _after_small_turns(subject)
            during: list[int] = []
            await together(
                subject.url,
                subject.request(body(1024), "40 200 100"),
                streams=STREAMS,
                within_s=1.0,
                midway=lambda s=subject, d=during: d.append(memory_bytes(s.pids)),  # type: ignore[misc]  # defaults bind now
            )
            seen.add(subject.name, (during[0] - before) / STREAMS / 1e3)
    return {n.PER_STREAM: seen.measured()}


async def sockets(started: Sequence[Started], upstream: str, folder: Path) -> Figures:
    """1,000 WebSockets that say nothing, to a fresh product; then a turn on 100 of them, one every 20 ms."""
    silent, used, lost, waits = Rounds(), Rounds(), Rounds(), Rounds()
    with beside(urgent=True) as others:
        for place, start in enumerate(started):
            async with start(upstream, folder / f"sockets-{place}") as subject:
                before = await _after_small_turns(subject)
                clients = await _opened(subject)
                opened = memory_bytes(subject.pids)
                await _turns(
                    clients[-SOCKET_TURNS_BEFORE:]
                )  # the first ones ever load and connect what all others find
                warm = memory_bytes(subject.pids)
                first_events_s = await _turns(clients[:SOCKET_TURNS])
                each = (opened - before) / SOCKETS
                silent.add(subject.name, each / 1e3)
                used.add(subject.name, (each + (memory_bytes(subject.pids) - warm) / SOCKET_TURNS) / 1e3)
                lost.add(subject.name, sum(not client.is_open for client in clients))
                waits.add(subject.name, quantile(first_events_s, 0.99) * 1e3)
                for client in clients:
                    client.close()
    return {
        n.PER_SOCKET: silent.measured(),
        n.PER_USED_SOCKET: used.measured(),
        n.SOCKETS_LOST: lost.measured(),
        n.SOCKET_FIRST_EVENT: waits.measured(others.note),
    }


async def _after_small_turns(subject: Subject) -> int:
    """What it takes once it has loaded what any turn needs."""
    await closed_loop(subject.url, subject.request(body(1024), SHORT), clients=AT_ONCE, turns=SMALL_TURNS)
    return memory_bytes(subject.pids)


async def _turns(clients: Sequence[SocketClient]) -> list[float]:
    """A turn on each, begun when it is due; seconds to its first event."""
    frame = json.dumps({"type": "response.create", **json.loads(body(1024))})
    started = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number, client in enumerate(clients):
            due = started + number * SOCKET_TURNS_APART_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.create_task(client.turn(frame, due=due))
    return [client.first_event_s for client in clients if client.first_event_s is not None]


async def _opened(subject: Subject) -> list[SocketClient]:
    headers = [("authorization", f"Bearer {subject.api_key}"), ("x-bench", SHORT)]
    clients: list[SocketClient] = []
    while len(clients) < SOCKETS:
        some = (open_socket(subject.url, PATH, headers) for _ in range(SOCKETS_AT_ONCE))
        clients += await asyncio.gather(*some)
    return clients


async def peaks(started: Sequence[Started], upstream: str, folder: Path) -> Figures:
    """The most that large bodies take, as multiples of all that is under way; a fresh product for each."""
    seen = {n.PEAK_BODY: Rounds(), n.PEAK_ZSTD: Rounds(), n.PEAK_BODIES: Rounds()}
    asked = {n.PEAK_BODY: ("body", 1), n.PEAK_ZSTD: ("zstd", 1), n.PEAK_BODIES: ("body", AT_ONCE)}
    number = count()
    for name, (load, clients) in asked.items():
        repeated = LOADS[load]()
        assert isinstance(repeated, Repeated)
        for start in started:
            async with start(upstream, folder / f"peak-{next(number)}") as subject:
                small = subject.request(body(1024), SHORT)
                await closed_loop(
                    subject.url, small, clients=AT_ONCE, turns=200
                )  # what any turn loads is not the body's
                await repeated.begin(subject)
                before = memory_bytes(subject.pids)
                forget_peaks(subject.pids)
                large = subject.request(repeated.data, repeated.answer, *repeated.headers)
                await closed_loop(subject.url, large, clients=clients, turns=5 * clients)
                seen[name].add(subject.name, (peak_bytes(subject.pids) - before) / clients / LARGE_BYTES)
    return {name: rounds.measured() for name, rounds in seen.items()}


async def growth(started: Sequence[Started], upstream: str, folder: Path) -> Figures:
    """What 50,000 turns in a row leave in memory at least, of 100,000 after as many that filled what is bounded.

    50,000 turns that ended are remembered, for one.
    """
    seen, notes = Rounds(), []
    for place, start in enumerate(started):
        async with start(upstream, folder / f"growth-{place}") as subject:
            took = await _watched(subject)
        gained = {part: least_rise(values[len(values) // 2 :], LEAK_STEPS) / 1e6 for part, values in took.items()}
        in_all = sum(max(0.0, megabytes) for megabytes in gained.values())  # one part's luck is not another's
        for part, megabytes in {subject.name: in_all, **gained}.items():
            seen.seen[part] = [megabytes]
        for part, values in took.items():
            curve = ", ".join(f"{value / 1e6:.1f}" for value in values[:: len(values) // 8])
            notes.append(f"{part} in MB, every 25,000 turns: {curve}")
    return {n.GROWTH: seen.measured("; ".join(notes))}


async def _watched(subject: Subject) -> dict[str, list[int]]:
    """The memory of each part, every 5,000 turns."""
    number = count()

    def asked() -> bytes:
        said = next(number) % CONVERSATIONS
        data = body(1024).replace(b"Say hello", b"Say %d" % said)
        return subject.request(data, SHORT, f"session-id: {said}")

    took = {part: [memory_bytes([pid])] for part, pid in subject.parts.items()}
    for _ in range(GROWTH_TURNS // GROWTH_STEP):
        await closed_loop(subject.url, asked, clients=CLIENTS, turns=GROWTH_STEP)
        assert subject.system is not None
        await subject.system.settled(within_s=SETTLED_WITHIN_S)  # what waits to be stored is no growth
        for part, pid in subject.parts.items():
            took[part].append(memory_bytes([pid]))
    return took
