"""What is opened when it is first needed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from codex_lb.kit.on_demand import on_demand


async def test_nothing_is_opened_before_somebody_asks_and_then_once_for_all() -> None:
    happened: list[str] = []

    @asynccontextmanager
    async def opening() -> AsyncIterator[object]:
        happened.append("opened")
        yield object()
        happened.append("closed")

    got: list[object] = []

    async with on_demand(opening) as get:

        async def ask() -> None:
            got.append(await get())

        before = list(happened)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
        while_open = list(happened)

    assert (before, while_open, happened) == ([], ["opened"], ["opened", "closed"])
    assert len(got) == 3
    assert len(set(map(id, got))) == 1


async def test_what_nobody_asked_for_is_never_opened() -> None:
    @asynccontextmanager
    async def opening() -> AsyncIterator[object]:
        raise AssertionError
        yield

    async with on_demand(opening):
        pass
