"""Work that must not be cut off in the middle: a statement in a transaction, a code that is spent once it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import anyio

T = TypeVar("T")


async def uninterrupted(work: Coroutine[object, object, T]) -> T:
    """Runs the work to its end, also when whoever waits for it is cancelled; they are, right after. It must be bounded.

    anyio's shield alone keeps off the cancellation of a scope, but not the one that gRPC and asyncio send to a task.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            while not task.done():
                try:
                    await asyncio.wait([task])
                except asyncio.CancelledError:  # once more; there will be an end to it when the work has ended
                    continue
        if not task.cancelled():
            task.exception()  # seen: whoever would have been told of it is gone
        raise
