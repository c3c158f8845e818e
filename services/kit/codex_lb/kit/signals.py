"""The one owner of SIGTERM and SIGINT. Nothing else in the product touches signal handlers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

from codex_lb.kit.service import Stop

STOPPING = (signal.SIGTERM, signal.SIGINT)


@asynccontextmanager
async def stop_on_signals(stop: Stop) -> AsyncIterator[None]:
    """Inside, the first SIGTERM or SIGINT sets `stop`; the second ends the process at once (143 or 130).

    Only for the main thread. The handlers that were there before return afterwards.
    """
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if received:
            os._exit(128 + number)  # someone insists: no clean-up, which may be what hangs
        received.append(number)
        loop.call_soon_threadsafe(stop.set)

    # signal.signal, not loop.add_signal_handler: it also exists on Windows, and a busy loop cannot delay a hard exit.
    previous = {number: signal.signal(number, on_signal) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
