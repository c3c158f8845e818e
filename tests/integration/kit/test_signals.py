"""A real process, asked to stop: it finishes what runs, cleans up, and only insisting kills it."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

WITHIN_S = 20.0


@asynccontextmanager
async def two_servers() -> AsyncIterator[tuple[Process, TextReceiveStream, list[str]]]:
    """The process, what it prints, and the addresses of its servers."""
    command = [sys.executable, "-m", "tests.integration.kit.two_servers"]
    with anyio.fail_after(WITHIN_S):
        async with await anyio.open_process(command, stderr=None) as process:
            assert process.stdout is not None
            printed = TextReceiveStream(process.stdout)
            ports = (await printed.receive()).split()
            try:
                yield process, printed, [f"http://127.0.0.1:{port}" for port in ports]
            finally:
                if process.returncode is None:
                    process.kill()


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
async def test_streams_on_both_servers_end_in_peace_and_the_process_cleans_up(asked: signal.Signals) -> None:
    async with two_servers() as (process, printed, (one, two)), httpx.AsyncClient(timeout=WITHIN_S) as client:
        async with client.stream("GET", f"{one}/stream") as first, client.stream("GET", f"{two}/stream") as second:
            bodies = first.aiter_lines(), second.aiter_lines()
            heard = [await anext(body) for body in bodies]
            process.send_signal(asked)
            heard += [await anext(body) for body in bodies]
        farewell = await printed.receive()
        code = await process.wait()

    assert heard == ["first", "first", "last", "last"]
    assert (farewell, code) == ("cleaned up\n", 0)


@pytest.mark.parametrize(("insisted", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_second_signal_ends_the_process_at_once(insisted: signal.Signals, code: int) -> None:
    async with (
        two_servers() as (process, _, (one, two)),
        httpx.AsyncClient(timeout=WITHIN_S) as client,
        client.stream("GET", f"{two}/stream") as watch,
        client.stream("GET", f"{one}/forever") as stuck,
    ):
        lines = watch.aiter_lines()
        await anext(lines)
        process.send_signal(signal.SIGTERM)
        assert await anext(lines) == "last"  # the first signal has been heard
        process.send_signal(insisted)
        returned = await process.wait()
        with pytest.raises(httpx.RemoteProtocolError):
            await stuck.aread()

    assert returned == code
