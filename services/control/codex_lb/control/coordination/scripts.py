"""The Lua scripts: one per operation, run by Redis as one step, on Redis's own time.

A script that reaches Redis after its caller gave up does nothing: the deadline travels with it. So what was not answered
happened before the caller went on, or never.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import cast

from codex_lb.kit.clock import Clock
from codex_lb.kit.redis import Argument, RedisAwayError, RedisLink, Script

VERSION = 3  # of the keys and of what stands in them; controls of two versions do not see one another's


def prefix_of(pool: str) -> str:
    """What all keys of a pool begin with. The braces keep them together in one slot of a cluster."""
    return f"{{codex-lb:{pool}}}:v{VERSION}:"


def script_of(*names: str) -> Script:
    """The script made of these parts, after what every script begins with."""
    folder = files(__package__) / "lua"
    return Script.of("\n".join((folder / f"{name}.lua").read_text(encoding="utf-8") for name in ("prelude", *names)))


@dataclass(frozen=True, slots=True)
class Reply:
    """What a script said: how it went, the number of the newest change, the news of this one, and what it returned."""

    how: str
    change: int = 0
    news: bytes = b""
    rest: tuple[object, ...] = ()


class Scripts:
    """Runs scripts on the keys of one pool, each within its deadline, also as Redis's clock tells it."""

    def __init__(
        self, link: RedisLink, clock: Clock, *, prefix: str, server_now_ms: Callable[[], int] | None = None
    ) -> None:
        self.link = link
        self.prefix = prefix
        self._clock = clock
        self._server_now_ms = server_now_ms  # tests say what time it is; else Redis does
        self._ahead_ms: float | None = None  # Redis's clock over our monotonic one, at the least

    async def run(
        self, script: Script, generation: str, *arguments: Argument, deadline_s: float | None = None
    ) -> Reply:
        """Raises RedisAwayError."""
        patience_s = self.link.deadline_s if deadline_s is None else deadline_s
        for _ in range(2):  # the first one may come too late only because Redis's clock was set
            said = await self._said(script, generation, arguments, patience_s)
            if said[0] != b"late":
                how, _, *rest = said
                return reply_of(cast("bytes", how).decode(), rest)
        raise RedisAwayError("Redis took too long to answer.")

    async def _said(
        self, script: Script, generation: str, arguments: tuple[Argument, ...], patience_s: float
    ) -> list[object]:
        asked_at = self._clock.monotonic()
        now = "" if self._server_now_ms is None else self._server_now_ms()
        deadline = "" if now or self._ahead_ms is None else int((asked_at + patience_s) * 1000 + self._ahead_ms)
        said = cast(
            "list[object]",
            await self.link.run(script, self.prefix, now, deadline, generation, *arguments, deadline_s=patience_s),
        )
        self._learn(cast("int", said[1]), asked_at * 1000, self._clock.monotonic() * 1000)
        return said

    def _learn(self, server_ms: int, asked_ms: float, answered_ms: float) -> None:
        """How far Redis's clock is ahead: at the least as far as if the answer had taken no time to come."""
        least, most = server_ms - answered_ms, server_ms + 1 - asked_ms
        if self._ahead_ms is None or not least <= self._ahead_ms <= most:
            self._ahead_ms = least


def reply_of(how: str, rest: list[object]) -> Reply:
    """The reply, its head taken apart."""
    if not rest:
        return Reply(how)
    change, news, *more = rest
    return Reply(how, cast("int", change), cast("bytes", news), tuple(more))
