"""What is heavy and seldom needed is loaded and opened when somebody first needs it, and closed with everything else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeAlias, TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")
Get: TypeAlias = Callable[[], Awaitable[T]]


@asynccontextmanager
async def on_demand(load: Callable[[], AbstractAsyncContextManager[T]]) -> AsyncIterator[Get[T]]:
    """Inside, whoever asks gets the one thing that `load` opens.

    `load` imports what it takes, so it runs in a thread: others go on meanwhile. What it returns may not have a task
    group of its own, for it is closed by another task than it was opened by.
    """
    opened: list[T] = []
    opening = anyio.Lock()
    async with AsyncExitStack() as stack:

        async def get() -> T:
            if not opened:
                async with opening:
                    if not opened:
                        opened.append(await stack.enter_async_context(await anyio.to_thread.run_sync(load)))
            return opened[0]

        yield get
