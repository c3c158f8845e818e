"""A lease table in Redis, followed in memory. Redis has the truth; each control knows all of it but for a moment.

Every operation is one script, which counts what it changed and publishes it. A control applies changes in the order of
their numbers, whether it hears of one in the answer to its own script or as news of another control; when one is missing,
or Redis was away, it reads the whole table anew. So selection asks memory, and only taking a slot asks Redis.

Redis may forget: a flush or a restart begins a new generation, in which nothing is granted until gateways have had the
time to announce what they hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
import structlog

from codex_lb.control.coordination.lease_counts import LeaseCounts
from codex_lb.control.coordination.lease_records import news_of, table_of, take_in
from codex_lb.control.coordination.scripts import Reply, Scripts, script_of
from codex_lb.control.errors import CoordinationUnavailableError
from codex_lb.kit.ids import new_id
from codex_lb.kit.redis import Argument, RedisAwayError, Script

WHOLE_TABLE_S = 2.0  # reading or freeing thousands of leases takes longer than one
NEWS_WITHIN_S = 1.0  # what another control did and Redis has published; it takes a millisecond
JOIN_AGAIN_S = 0.1  # between two attempts to reach a Redis that is away

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

JOIN = script_of("budgets", "leases", "join")


class FollowedTable(LeaseCounts):
    """What it counts is as new as the last change that was heard of."""

    def __init__(self, scripts: Scripts, *, ttl_s: float, grace_s: float, is_first_start: bool) -> None:
        super().__init__()
        self._scripts = scripts
        self._ttl_ms = round(ttl_s * 1000)
        self._grace_ms = round(grace_s * 1000)
        self._is_first_start = is_first_start  # ever: no gateway can hold anything yet
        self._generation = ""  # empty: the table is not followed now, so nothing can be granted
        self._last_generation = ""
        self._change = 0  # the newest one applied
        self._moved = asyncio.Event()
        self._following = anyio.CancelScope()
        self._loss_listeners: list[Callable[[], None]] = []
        scripts.link.breaker.on_open(self.follow_anew)

    def on_loss(self, listener: Callable[[], None]) -> None:
        """Tells a listener when gateways must announce anew what they hold."""
        self._loss_listeners.append(listener)

    @property
    def position(self) -> tuple[str, int]:
        """Generation and newest change that are known here; no generation while the table is not followed."""
        return self._generation, self._change

    async def following(self) -> None:
        """Returns once the table is followed."""
        while not self._generation:
            self._moved.clear()
            await self._moved.wait()

    def follow_anew(self) -> None:
        """Something was missed, or may have been."""
        self._generation = ""
        self._following.cancel()

    async def follow(self) -> None:
        """Follows the table for as long as control lives."""
        while True:
            with anyio.CancelScope() as self._following:
                await self._follow()
            self._generation = ""

    async def run(
        self, script: Script, *arguments: Argument, deadline_s: float | None = None, reaches: bool = True
    ) -> Reply:
        """One operation. Raises CoordinationUnavailableError.

        Its changes, and all before, are applied here when it returns, unless it is one that nobody counts by.
        """
        generation = self._generation
        if not generation:
            raise CoordinationUnavailableError("Redis is away, or has just come back.")
        try:
            reply = await self._scripts.run(script, generation, *arguments, deadline_s=deadline_s)
        except RedisAwayError as error:
            raise CoordinationUnavailableError(str(error)) from error
        if reply.how == "lost":
            self.follow_anew()
            raise CoordinationUnavailableError("Redis has forgotten who holds what.")
        if reaches:
            await self._reach(generation, reply)
        return reply

    def tell_loss(self) -> None:
        """Gateways must announce anew what they hold."""
        for listener in self._loss_listeners:
            listener()

    def forgotten(self) -> None:
        """Redis has forgotten everything, and what was told to it must be told again."""

    async def _follow(self) -> None:
        link = self._scripts.link
        try:
            async with link.listening(self._scripts.prefix + "news") as messages:
                await self._join()
                async for message in messages:
                    if not self._hear(message):
                        return
        except (RedisAwayError, CoordinationUnavailableError):
            self._generation = ""
            await anyio.sleep(JOIN_AGAIN_S)

    async def _join(self) -> None:
        """Reads the whole table; what is published from here on follows on it."""
        reply = await self._scripts.run(
            JOIN,
            "",
            new_id("generation"),
            await self._run_id(),
            0 if self._is_first_start else self._grace_ms,
            self._ttl_ms,
            deadline_s=WHOLE_TABLE_S,
        )
        self._is_first_start = False
        table = table_of(reply.rest)
        for account_id, epoch in table.last_granted:
            self.granted(account_id, epoch)
        self.replace(table.held, table.being_created)
        self._generation, self._change = table.generation, reply.change
        self._moved.set()
        if self._last_generation not in {"", table.generation}:
            log.warning("redis has forgotten who holds what; gateways announce it anew")
            self.forgotten()
            self.tell_loss()
        self._last_generation = table.generation

    async def _run_id(self) -> str:
        """Which run of the server this is: one that restarted may have an old table on its disk."""
        told = await self._scripts.link.command("INFO", "server")
        if not isinstance(told, dict):
            raise RedisAwayError("Redis does not say which run of it this is.")
        return str(told["run_id"])

    async def _reach(self, generation: str, reply: Reply) -> None:
        """Waits for what other controls changed before."""
        if reply.change == self._change + 1 and reply.news and generation == self._generation:
            self._hear(reply.news)
        with anyio.move_on_after(NEWS_WITHIN_S) as waiting:
            while generation == self._generation and self._change < reply.change:
                self._moved.clear()
                await self._moved.wait()
        if waiting.cancelled_caught:
            self.follow_anew()

    def _hear(self, message: bytes) -> bool:
        """Applies news that are the next; False when some are missing, or of another generation."""
        news = news_of(message)
        if news.generation != self._generation:
            return False
        if news.number <= self._change:
            return True
        if news.number > self._change + 1:
            return False
        take_in(self, news)
        self._change = news.number
        self._moved.set()
        return True
