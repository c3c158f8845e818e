"""The same with two controls on one Redis."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio.lowlevel

from codex_lb.control.coordination.memory import MemoryLeases
from codex_lb.control.coordination.redis import RedisLeases
from codex_lb.control.coordination.scripts import prefix_of
from codex_lb.control.domain.ids import ReplicaId
from codex_lb.control.store.database import Database, open_database
from tests.support.databases import sqlite_url_of
from tests.support.redis_server import RedisServer
from tests.support.spending.campaign import Campaign, numbers
from tests.support.spending.world import (
    ControlOfTest,
    redis_leases,
)


class SharedCampaign(Campaign):
    """Two controls on one Redis, which forgets now and then, and does not hear everything."""

    def __init__(self, seed: int, store: Database, server: RedisServer) -> None:
        super().__init__(seed, store)
        self._server = server
        self._prefix = prefix_of(f"spending-{next(numbers)}")

    async def start_controls(self) -> None:
        """Both."""
        for place in range(2):
            await self.start(place)

    def leases(self) -> AbstractAsyncContextManager[MemoryLeases | RedisLeases]:
        """Followed by one of them."""
        return redis_leases(self._server, self.clock, self._prefix, self.faults)

    def more_moves(self) -> list[Callable[[], Awaitable[None]]]:
        """What happens to Redis."""
        return [self.redis_is_flushed]

    async def kill(self, place: int) -> None:
        """The other one goes on, and Redis remembers."""
        self.faults.share = 0.0
        await self._kill(place)
        await self.start(place)
        for gateway in self.gateways:
            if gateway.place == place and not gateway.is_silent:
                await self.attach(gateway)

    async def redis_is_flushed(self) -> None:
        """All of it is gone; controls notice, and gateways are asked what they hold."""
        self.faults.share = 0.0
        pattern = self._prefix.replace("{", "[{]").replace("}", "[}]") + "*"
        keys = self._server.say("KEYS", pattern)
        assert isinstance(keys, list)
        before = [self._table(control).position[0] for control in self.controls]
        self._server.say("DEL", *(key.decode() for key in keys))
        self._forget()
        for _, _, settlement in self.slow:
            self.facts[settlement.lease.lease_id].is_known = True  # its control tells it again
        for control, generation in zip(self.controls, before, strict=True):
            await control.leases.renew(ReplicaId("nobody"), now=self.clock.now())
            while self._table(control).position[0] in {"", generation}:
                await anyio.lowlevel.checkpoint()
            await control.adopt.all()
        for gateway in self.gateways:
            if not gateway.is_silent:
                await self.attach(gateway)

    def _table(self, control: ControlOfTest) -> RedisLeases:
        assert isinstance(control.leases, RedisLeases)
        return control.leases


async def play(steps: int, seed: int, folder: Path, template: Path, server: RedisServer | None) -> Counter[str]:
    """One campaign on a database of its own; on Redis if there is one."""
    file = folder / f"spending-{next(numbers)}.db"
    shutil.copy(template, file)
    async with open_database(sqlite_url_of(file)) as store:
        campaign = Campaign(seed, store) if server is None else SharedCampaign(seed, store, server)
        return await campaign.run(steps)
