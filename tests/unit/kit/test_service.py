"""Several services in one process: order of starting, order of draining, failure."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from codex_lb.kit.service import ServiceEndedError, Stop, run_all


class Recorded:
    """A service that writes down what happens to it."""

    def __init__(self, name: str, story: list[str]) -> None:
        self.name = name
        self.story = story

    async def run(self, stop: Stop, ready: Callable[[], None]) -> None:
        self.story.append(f"{self.name} starts")
        ready()
        await stop.wait()
        self.story.append(f"{self.name} drains")


class Failing(Recorded):
    """A service that breaks once it is ready."""

    async def run(self, _stop: Stop, ready: Callable[[], None]) -> None:
        ready()
        raise ConnectionError("the floor is gone")


class Leaving(Recorded):
    """A service that goes home early."""

    async def run(self, _stop: Stop, ready: Callable[[], None]) -> None:
        ready()


class Stubborn(Recorded):
    """A service that does not react to being asked."""

    async def run(self, _stop: Stop, ready: Callable[[], None]) -> None:
        ready()
        try:
            await anyio.sleep_forever()
        finally:
            self.story.append(f"{self.name} was cancelled")


class NeverReady(Recorded):
    """A service that starts and waits for something that does not come."""

    async def run(self, stop: Stop, _ready: Callable[[], None]) -> None:
        self.story.append(f"{self.name} starts")
        await stop.wait()
        self.story.append(f"{self.name} drains")


@pytest.fixture
def story() -> list[str]:
    return []


async def test_services_start_in_order_and_drain_in_reverse(story: list[str]) -> None:
    stop = Stop()

    def on_ready() -> None:
        story.append("all ready")
        stop.set()

    await run_all([Recorded("control", story), Recorded("gateway", story)], stop, drain_s=5, on_ready=on_ready)

    assert story == ["control starts", "gateway starts", "all ready", "gateway drains", "control drains"]


async def test_a_service_that_fails_stops_the_others_and_its_error_is_raised(story: list[str]) -> None:
    stop = Stop()

    with pytest.raises(ConnectionError, match="the floor is gone"):
        await run_all([Recorded("control", story), Failing("gateway", story)], stop, drain_s=5)

    assert stop.is_set
    assert story == ["control starts", "control drains"]


async def test_a_service_that_ends_unasked_counts_as_failed(story: list[str]) -> None:
    with pytest.raises(ServiceEndedError, match="gateway ended although nobody asked it to"):
        await run_all([Recorded("control", story), Leaving("gateway", story)], Stop(), drain_s=5)

    assert story == ["control starts", "control drains"]


async def test_a_service_that_does_not_drain_in_time_is_cancelled(story: list[str]) -> None:
    stop = Stop()

    services = [Recorded("control", story), Stubborn("gateway", story)]
    await run_all(services, stop, drain_s=0.01, on_ready=stop.set)

    assert story == ["control starts", "gateway was cancelled", "control drains"]


async def test_a_stop_during_the_start_drains_what_has_started(story: list[str]) -> None:
    stop = Stop()

    async with anyio.create_task_group() as tasks:
        services = [NeverReady("control", story), Recorded("gateway", story)]
        tasks.start_soon(lambda: run_all(services, stop, drain_s=5))
        await anyio.wait_all_tasks_blocked()
        stop.set()

    assert story == ["control starts", "control drains"]
