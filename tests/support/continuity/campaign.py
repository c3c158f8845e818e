"""One sequence of a campaign: a small pool, some gateways, some threads, and faults drawn from a seed.

What must hold, whatever happens:
- no thread fails twice running while an account could have served it, all the while, and the client sent everything
  (what cannot be helped: `judge.py`);
- nothing that only one account can read reaches another;
- a client is given one answer per request, whole or cut short, never parts of two, and no finished answer is lost: so
  no tool call is run twice or swallowed because of us;
- nothing fails in a way that nobody foresaw, every slot comes back, and no call outlives its client.
"""

from __future__ import annotations

import asyncio
import random
from typing import get_args

from tests.support.continuity.control import LEASE_TTL_S
from tests.support.continuity.conversation import Thread
from tests.support.continuity.thread import Kind
from tests.support.continuity.trouble import Trouble
from tests.support.continuity.verdict import Verdict
from tests.support.continuity.world import World
from tests.support.virtual_time import run_in_virtual_time


def run_sequence(seed: int) -> Verdict:
    """Plays one."""
    random.seed(seed)  # the product's own draws: jitter
    return run_in_virtual_time(_Sequence.play(seed))


class _Sequence:
    """One run."""

    def __init__(self, seed: int) -> None:
        self.verdict = Verdict(seed)
        self._world = World(random.Random(seed))

    @classmethod
    async def play(cls, seed: int) -> Verdict:
        """All of it."""
        sequence = cls(seed)
        await sequence._world.start()
        await sequence._run()
        return sequence.verdict

    def problem(self, text: str) -> None:
        """Something that must not happen has happened."""
        self.verdict.problems.append(f"{self._world.clock.monotonic():.3f} s: {text}")

    async def _run(self) -> None:
        world, draws = self._world, self._world.draws
        trouble = Trouble(world)
        happening = asyncio.create_task(trouble.run())
        kinds = [draws.choice(get_args(Kind)) for _ in range(draws.randint(1, 4))]
        async with asyncio.TaskGroup() as threads:
            for n, kind in enumerate(kinds):
                threads.create_task(Thread(self, world, f"thread-{n}", kind).talk())
        happening.cancel()
        await self._look_at_what_is_left()
        for gateway in world.gateways:
            await gateway.kill()
        world.site.kill()
        trouble.end()
        self.verdict.calls = len(world.upstream.calls)
        self.verdict.history = world.history.lines

    async def _look_at_what_is_left(self) -> None:
        world = self._world
        control = world.control or await world.site.start()
        await asyncio.sleep(2 * LEASE_TTL_S)  # the slots of whoever was killed return
        if control.leases.held():
            self.problem(f"{control.leases.held()} leases never returned")
        for account in world.upstream.accounts.values():
            if account.silent:
                self.problem(f"{account.silent} calls at {account.name} go on, for which nobody waits")
        for what in (*world.upstream.foreign, *world.upstream.refused_bodies):
            self.problem(f"upstream got what it must not get: {what}")
