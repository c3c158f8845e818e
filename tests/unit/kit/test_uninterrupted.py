"""What must not be cut off runs to its end, whoever cancels, and however often."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from codex_lb.kit.uninterrupted import uninterrupted


async def test_an_answer_and_an_error_come_through() -> None:
    async def answer() -> int:
        return 7

    async def fail() -> int:
        raise ValueError("no")

    assert await uninterrupted(answer()) == 7
    with pytest.raises(ValueError, match="no"):
        await uninterrupted(fail())


async def test_a_cancelled_task_ends_after_its_work_and_then_at_once() -> None:
    began, may_end = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    async def work() -> None:
        began.set()
        await may_end.wait()
        done.append("the work")

    async def wait() -> None:
        await uninterrupted(work())
        done.append("what comes after")

    task = asyncio.create_task(wait())
    await began.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert done == ["the work"]


async def test_a_cancelled_scope_waits_for_the_work_too() -> None:
    began, may_end = anyio.Event(), anyio.Event()
    done: list[str] = []

    async def work() -> None:
        began.set()
        await may_end.wait()
        done.append("the work")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(uninterrupted, work())
        await began.wait()
        tasks.cancel_scope.cancel()
        may_end.set()

    assert done == ["the work"]


async def test_an_error_of_work_whose_waiter_left_disturbs_nobody() -> None:
    may_end = asyncio.Event()

    async def work() -> None:
        await may_end.wait()
        raise ValueError("nobody hears it")

    task = asyncio.create_task(uninterrupted(work()))
    await asyncio.sleep(0)
    task.cancel()
    may_end.set()

    with pytest.raises(asyncio.CancelledError):
        await task
