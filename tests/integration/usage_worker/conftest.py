"""The worker's neighbours: the simulated upstream as a process, control's stand-in over real gRPC, and time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest

from codex_lb.kit.service import Stop
from codex_lb.usage_worker.app import open_worker
from codex_lb.usage_worker.settings import WorkerSettings
from tests.integration.usage_worker.control_stand_in import ControlStandIn, serve
from tests.support.upstream import Upstream, start_upstream

WITHIN_S = 10.0


@dataclass
class FastTime:
    """A clock, and a sleep that only moves it: waits are written down instead of waited."""

    started_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    elapsed_s: float = 0.0
    slept_s: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.started_at + timedelta(seconds=self.elapsed_s)

    def monotonic(self) -> float:
        return self.elapsed_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.elapsed_s += seconds
        await anyio.lowlevel.checkpoint()


@dataclass
class RunningWorker:
    """A worker that runs, and the handle to stop it."""

    stop: Stop
    stopped: anyio.Event = field(default_factory=anyio.Event)


StartWorker: TypeAlias = Callable[..., AbstractAsyncContextManager[RunningWorker]]


@pytest.fixture(scope="session")
async def simulator() -> AsyncIterator[Upstream]:
    async with start_upstream() as upstream:
        yield upstream


@pytest.fixture
async def upstream(simulator: Upstream) -> AsyncIterator[Upstream]:
    await simulator.reset(accounts=True)
    yield simulator
    await simulator.release()


@pytest.fixture
def control() -> ControlStandIn:
    return ControlStandIn()


@pytest.fixture
def time() -> FastTime:
    return FastTime()


@pytest.fixture
def target(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/control.sock"


@pytest.fixture
async def listening(control: ControlStandIn, target: str) -> AsyncIterator[str]:
    async with serve(control, target) as dialled:
        yield dialled


@pytest.fixture
def start_worker(upstream: Upstream, time: FastTime, target: str) -> StartWorker:
    """A worker on these neighbours, stopped and drained at the end of the `with`."""

    @asynccontextmanager
    async def start(
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep, *, drain_within_s: float = WITHIN_S, **given: Any
    ) -> AsyncIterator[RunningWorker]:
        settings = WorkerSettings(
            **{
                "control_target": target,
                "upstream_base_url": upstream.chatgpt_url,
                "auth_base_url": upstream.auth_url,
                **given,
            }
        )
        worker = RunningWorker(Stop())
        async with (
            open_worker(settings, time, drain_within_s=drain_within_s, sleep=sleep) as loop,
            anyio.create_task_group() as tasks,
        ):

            async def run() -> None:
                await loop.run(worker.stop)
                worker.stopped.set()

            tasks.start_soon(run)
            yield worker
            worker.stop.set()
            with anyio.fail_after(2 * WITHIN_S):
                await worker.stopped.wait()

    return start
