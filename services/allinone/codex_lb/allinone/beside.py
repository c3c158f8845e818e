"""Several gateways on one port, each a process of its own: `codex-lb serve --gateways N` (ADR 0011).

Control stays with whoever starts them. Each gets a socket of its own on the port, and the kernel spreads the connections
over them. A gateway that dies is started anew; what connects to its socket meanwhile waits there. They end when told to
by a signal, or when whoever started them is gone, which they see at the end of their input.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from socket import socket
from typing import TypeAlias, TypeVar

import anyio
import anyio.to_thread
import msgspec
import structlog

from codex_lb.allinone.banner import Serving
from codex_lb.allinone.data_dir import socket_path
from codex_lb.allinone.edge_service import EdgeService
from codex_lb.allinone.failures import CommandError
from codex_lb.gateway.settings import GatewaySettings
from codex_lb.kit.backoff import Backoff
from codex_lb.kit.clock import SystemClock
from codex_lb.kit.health import Health
from codex_lb.kit.service import Stop, first_of, run_all
from codex_lb.kit.settings import load

RESTART = Backoff(first_s=0.2, max_s=5.0)
WAITS = anyio.CapacityLimiter(256)  # threads that wait for gateway processes, three for each
END_WITHIN_S = 15.0  # beyond running turns: the last settlements, the connections
Process: TypeAlias = subprocess.Popen[bytes]
T = TypeVar("T")
log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class GatewayProcessError(CommandError):
    """A gateway process ended before it served for the first time."""


class Announcement(msgspec.Struct):
    """What a gateway process says once it serves."""

    accounts: int
    asks_for_keys: bool


class Gateways:
    """All gateway processes; a Service. They start and drain together."""

    name = "gateways"

    def __init__(self, bound: Sequence[socket], data_dir: Path, on_serving: Callable[[Announcement], None]) -> None:
        self._bound = bound
        self._data_dir = data_dir
        self._on_serving = on_serving

    async def run(self, stop: Stop, ready: Callable[[], None], /) -> None:
        """Keeps them running until told to stop, then lets their turns finish."""
        announced: list[Announcement] = []

        def serves(announcement: Announcement) -> None:
            announced.append(announcement)
            if len(announced) == len(self._bound):
                self._on_serving(announcement)
                ready()

        async with asyncio.TaskGroup() as tasks:
            for bound in self._bound:
                tasks.create_task(self._keep(bound, stop, serves))

    async def _keep(self, bound: socket, stop: Stop, serves: Callable[[Announcement], None]) -> None:
        attempt = 0
        while not stop.is_set:
            process = started(bound, self._data_dir)
            try:
                if announcement := await _announced(process):
                    if attempt == 0:
                        serves(announcement)
                    attempt = 1
                elif attempt == 0 and not stop.is_set:
                    raise GatewayProcessError(f"A gateway process ended with exit code {await _beside(process.wait)}.")
                await first_of(stop.wait, partial(_beside, process.wait))
            finally:
                await _ended(process)
            if not stop.is_set:
                log.error("a gateway process died and is started anew", exit_code=process.returncode)
                await asyncio.sleep(RESTART.delay(attempt, random.random()))  # noqa: S311 - spreads restarts
                attempt += 1


def started(bound: socket, data_dir: Path) -> Process:
    """A gateway process. Not by way of the event loop: uvloop forks, which gRPC's threads do not survive."""
    fd = bound.fileno()
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "codex_lb.allinone", "gateway-beside", str(fd), str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(fd,),
        start_new_session=True,  # a Ctrl-C is for us, who then end them in order
    )


async def _announced(process: Process) -> Announcement | None:
    """What it says once it serves; None when it ends before."""
    line = await _beside(process.stdout.readline) if process.stdout else b""
    return msgspec.json.decode(line, type=Announcement) if line else None


async def _ended(process: Process) -> None:
    """Lets it drain; whoever is cancelled meanwhile ends it at once."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        await _beside(process.wait)
    except asyncio.CancelledError:
        process.kill()
        raise


async def _beside(wait: Callable[[], T]) -> T:
    """What blocks, in a thread that is left alone when nobody waits for it any more."""
    return await anyio.to_thread.run_sync(wait, abandon_on_cancel=True, limiter=WAITS)


async def serve_beside(fd: int, data_dir: Path, stop: Stop) -> None:
    """One of those processes: a gateway with the whole path table, on a socket that was bound before."""
    settings = load(GatewaySettings).model_copy(
        update={"data_dir": data_dir, "control_target": f"unix:{socket_path(data_dir)}"}
    )
    edge = EdgeService(settings, SystemClock(), socket(fileno=fd), Health(), ToParent(), data_dir)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: EndOfInput(stop), sys.stdin)
    await run_all([edge], stop, drain_s=settings.shutdown_drain_timeout_seconds + END_WITHIN_S)


class EndOfInput(asyncio.Protocol):
    """Stops when whoever started us closes our input, or dies."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - either way nobody is there
        self._stop.set()


class ToParent:
    """A voice for whoever started us."""

    def serving(self, serving: Serving) -> None:
        """Announces it."""
        os.write(
            sys.stdout.fileno(), msgspec.json.encode(Announcement(serving.accounts, serving.asks_for_keys)) + b"\n"
        )

    def draining(self, turns: int, *, within_s: float) -> None:
        """The log has it."""
        if turns:
            log.info("running turns may finish", turns=turns, within_s=within_s)
