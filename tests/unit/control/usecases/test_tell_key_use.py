"""How keys stand, told to those who watch."""

from __future__ import annotations

import anyio
import anyio.lowlevel

from codex_lb.control.domain.limit import Limit, LimitUnit, LimitWindow
from codex_lb.control.usecases.tell_key_use import KEYS_AT_ONCE, TellKeyUse
from tests.support.clock import NOON, FakeClock
from tests.unit.control.keys import api_key, keys_of

KEYS = 10 * KEYS_AT_ONCE


async def test_turns_go_on_while_many_keys_are_looked_at() -> None:
    clock, looked = FakeClock(), 0
    keys = [
        api_key(f"key-{n}", Limit(f"limit-{n}", LimitUnit.REQUESTS, LimitWindow.DAY, "", 10, NOON)) for n in range(KEYS)
    ]
    made = keys_of(clock, *keys)
    tell = TellKeyUse(made.book, made.limits, clock)

    async def turns() -> None:
        nonlocal looked
        while True:
            await anyio.lowlevel.checkpoint()
            looked += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turns)
        told = await tell()
        tasks.cancel_scope.cancel()

    assert len(told) == KEYS
    assert looked >= KEYS / KEYS_AT_ONCE - 1
