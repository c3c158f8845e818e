"""Redis: a deadline on every call, and a breaker, so that nobody waits for a server that is away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha1
from typing import TypeAlias

import anyio
import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from codex_lb.kit.clock import Clock

CONNECTIONS_MAX = 32  # calls at once; more would wait for the server anyway, which runs one at a time
FAILURES_MAX = 3  # in a row, before the server is taken for gone: one may be a hiccup
ASKED_AGAIN_AFTER_S = 0.5  # how often one call is let through to a server that is taken for gone
REFUSAL_TOLD_EVERY_S = 60.0  # what is refused once is most likely refused to everybody

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Argument: TypeAlias = str | bytes | int


class RedisAwayError(Exception):
    """Redis did not answer in time, or refused to work, or is not asked because it did not answer just now."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script. Redis knows it by the digest of its text, so two versions of it never meet."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> Script:
        """The script of that text."""
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


class Breaker:
    """Closed while calls succeed; open after some failures in a row, and then one call at a time is let through."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._open_until: float | None = None
        self._listeners: list[Callable[[], None]] = []
        self._refusal_told_at: float | None = None

    def on_open(self, listener: Callable[[], None]) -> None:
        """Tells a listener whenever the server is taken for gone."""
        self._listeners.append(listener)

    @property
    def is_open(self) -> bool:
        """Whether the server is taken for gone."""
        return self._open_until is not None

    def lets_through(self) -> bool:
        """Whether a call may be made now."""
        if self._open_until is None:
            return True
        now = self._clock.monotonic()
        if now < self._open_until:
            return False
        self._open_until = now + ASKED_AGAIN_AFTER_S
        return True

    def succeeded(self) -> None:
        """A call was answered."""
        self._failures = 0
        if self._open_until is not None:
            self._open_until = None
            log.info("redis is back")

    def failed(self, why: str) -> None:
        """A call was not answered."""
        self._failures += 1
        if self._failures < FAILURES_MAX or self._open_until is not None:
            return
        self._open_until = self._clock.monotonic() + ASKED_AGAIN_AFTER_S
        log.warning("redis is away", why=why)
        for listener in self._listeners:
            listener()

    def refused(self, why: str) -> None:
        """A call was answered with an error: the server is there, and will not or cannot do this."""
        now = self._clock.monotonic()
        if self._refusal_told_at is None or now - self._refusal_told_at >= REFUSAL_TOLD_EVERY_S:
            self._refusal_told_at = now
            log.error("redis refuses commands", why=why)


class RedisLink:
    """One Redis, for as many callers as there are. Every method raises RedisAwayError."""

    def __init__(self, client: Redis, breaker: Breaker, *, deadline_s: float) -> None:
        self._client = client
        self.breaker = breaker
        self.deadline_s = deadline_s

    async def run(self, script: Script, key: str, *arguments: Argument, deadline_s: float | None = None) -> object:
        """What the script returns. All its keys begin with `key`, which says where in a cluster it runs."""
        try:
            return await self.command("EVALSHA", script.sha, 1, key, *arguments, deadline_s=deadline_s)
        except NoScriptError:  # a server that was restarted or flushed
            return await self.command("EVAL", script.text, 1, key, *arguments, deadline_s=deadline_s)

    async def command(self, *arguments: Argument, deadline_s: float | None = None) -> object:
        """The answer to one command."""
        with self._guarded():
            with anyio.fail_after(self.deadline_s if deadline_s is None else deadline_s):
                answer: object = await self._client.execute_command(*arguments)  # type: ignore[no-untyped-call]
        self.breaker.succeeded()
        return answer

    @asynccontextmanager
    async def listening(self, channel: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """What is published on a channel from now on, until the connection breaks."""
        subscription = self._client.pubsub(ignore_subscribe_messages=True)
        try:
            with self._guarded(), anyio.fail_after(self.deadline_s):
                await subscription.subscribe(channel)
                # Nothing that is published after the server has said so can be missed.
                await subscription.parse_response(block=True)
            self.breaker.succeeded()
            yield self._messages(subscription)
        finally:
            with anyio.move_on_after(self.deadline_s, shield=True):
                await subscription.aclose()  # type: ignore[no-untyped-call]

    async def _messages(self, subscription: PubSub) -> AsyncIterator[bytes]:
        with self._guarded(counts=False):
            async for message in subscription.listen():
                yield message["data"]

    def _guarded(self, *, counts: bool = True) -> Guard:
        return Guard(self.breaker, counts=counts)


class Guard:
    """Inside, what goes wrong with Redis rises as RedisAwayError, and the breaker hears of it."""

    def __init__(self, breaker: Breaker, *, counts: bool) -> None:
        self._breaker = breaker
        self._counts = counts

    def __enter__(self) -> None:
        if self._counts and not self._breaker.lets_through():
            raise RedisAwayError("Redis did not answer just now.")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, NoScriptError) or not isinstance(error, RedisError | OSError | TimeoutError):
            return
        why = f"{type(error).__name__}: {error}".removesuffix(": ")
        if isinstance(error, ResponseError):
            self._breaker.refused(why)
        if self._counts:
            self._breaker.failed(why)
        raise RedisAwayError(f"Redis did not answer: {why}") from error


@asynccontextmanager
async def open_redis(url: str, clock: Clock, *, deadline_s: float) -> AsyncIterator[RedisLink]:
    """Connects when first used, and anew whenever a connection turns out to be dead."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS_MAX,
        timeout=None,  # the deadline of the call counts
        socket_timeout=None,
        socket_connect_timeout=None,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        client_name="codex-lb",
    )
    breaker = Breaker(clock)
    async with Redis(connection_pool=pool) as client:
        try:
            yield RedisLink(client, breaker, deadline_s=deadline_s)
        finally:
            await pool.aclose()
