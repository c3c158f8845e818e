"""What a service is, and how several of them run in one process: started in order, drained in reverse."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import anyio
import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def run_all(
    services: Sequence[Service],
    stop: Stop,
    *,
    drain_s: float,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Runs the services until `stop` is set, then until each has drained.

    Each starts when the one before it is ready; `on_ready` is called when all are. They drain in reverse, so that
    whatever a service leans on outlives it; one that takes longer than `drain_s` seconds is cancelled. When a
    service fails, `stop` is set, the others drain, and its error is raised.
    """
    errors: list[Exception] = []
    started: list[_Running] = []
    async with asyncio.TaskGroup() as tasks:
        for service in services:
            if stop.is_set:
                break
            running = _Running(service, tasks, stop, errors)
            started.append(running)
            await first_of(running.ready.wait, stop.wait)
        if on_ready is not None and not stop.is_set:
            on_ready()
        gc.collect()
        gc.freeze()  # what starting made stays: the collector need not look at it again
        await stop.wait()
        for running in reversed(started):
            await running.drain(drain_s)
    for later in errors[1:]:
        log.error("another service failed too", exc_info=later)
    if errors:
        raise errors[0]


class Service(Protocol):
    """Something that runs until told to stop."""

    @property
    def name(self) -> str:
        """What logs call it."""
        ...

    async def run(self, stop: Stop, ready: Callable[[], None], /) -> None:
        """Serves until `stop` is set, then finishes what runs and returns; calls `ready` once it serves."""
        ...


class Stop:
    """A flag that can be raised and never lowered."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        """Returns when the flag is up; at once if it is already."""
        await self._event.wait()


class ServiceEndedError(Exception):
    """A service returned although nobody had asked it to stop."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} ended although nobody asked it to")


async def first_of(*waits: Callable[[], Awaitable[object]]) -> None:
    """Returns when the first of these waits does; the others are cancelled."""

    async def wait_then_cancel(wait: Callable[[], Awaitable[object]]) -> None:
        await wait()
        waiting.cancel_scope.cancel()

    async with anyio.create_task_group() as waiting:
        for wait in waits:
            waiting.start_soon(wait_then_cancel, wait)


class _Running:
    """One service between its start and its end."""

    def __init__(self, service: Service, tasks: asyncio.TaskGroup, stop_all: Stop, errors: list[Exception]) -> None:
        self.ready = asyncio.Event()
        self._service = service
        self._stop = Stop()
        self._stop_all = stop_all
        self._errors = errors
        self._task = tasks.create_task(self._run(), name=service.name)

    async def drain(self, drain_s: float) -> None:
        """Asks the service to stop and returns when it has; cancels it after `drain_s` seconds."""
        self._stop.set()
        done, _ = await asyncio.wait([self._task], timeout=drain_s)
        if done:
            return
        log.warning("service did not drain in time and is cancelled", service=self._service.name, drain_s=drain_s)
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self._service.run(self._stop, self.ready.set)
            if not self._stop.is_set:
                raise ServiceEndedError(self._service.name)
        except Exception as error:  # whatever it was: the others stop, and run_all raises it
            self._errors.append(error)
            self._stop_all.set()
