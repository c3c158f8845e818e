"""CPU of the product per short turn: `codex-lb serve` against the simulator, loaded from this process.

A first figure, to notice when it grows. What it lacks: the bare pass-through beside it, long streams, open-loop load.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import uvloop

from tests.support.system import System, a_turn, start_all_in_one
from tests.support.upstream import start_upstream

ACCOUNTS = 8
CLIENTS = 16
WARM_S, MEASURED_S = 2.0, 8.0


async def main() -> None:
    """Prints turns per second and CPU milliseconds per turn of the product's process tree."""
    folder = Path(tempfile.mkdtemp())
    async with start_upstream() as upstream, start_all_in_one(upstream, folder) as system:
        await upstream.keep_bytes(keep=False)
        await system.add(*(f"account-{n}" for n in range(ACCOUNTS)))
        await load(system, WARM_S)
        process = psutil.Process(system.control.pid)
        before = sum(process.cpu_times()[:2])
        started = time.monotonic()
        turns = await load(system, MEASURED_S)
        took_s, cpu_s = time.monotonic() - started, sum(process.cpu_times()[:2]) - before
        print(f"{turns} turns, {turns / took_s:.0f}/s, {cpu_s / turns * 1000:.2f} ms CPU per turn")


async def load(system: System, seconds: float) -> int:
    """Closed-loop clients, each on a connection of its own; how many turns they had."""
    until = time.monotonic() + seconds
    counts = await asyncio.gather(*(client(system.base_url, until) for _ in range(CLIENTS)))
    return sum(counts)


async def client(base_url: str, until: float) -> int:
    """Asks for one short turn after another on a kept connection."""
    url, turns = urlsplit(base_url), 0
    body = json.dumps(a_turn("<<long:4>>", model="gpt-5.5", stream=True)).encode()
    head = f"POST /backend-api/codex/responses HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    while time.monotonic() < until:
        writer.write(head.encode() + body)
        await reader.readuntil(b"\r\n0\r\n\r\n")
        turns += 1
    writer.close()
    return turns


if __name__ == "__main__":
    uvloop.run(main())
