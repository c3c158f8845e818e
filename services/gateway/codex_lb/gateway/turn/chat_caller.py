"""Speaks to upstream for a chat client, and sends no account reasoning that only another one can read."""

from __future__ import annotations

from collections.abc import Callable

from codex_lb.gateway.leasing.held import Holding
from codex_lb.gateway.outcome import Outcome
from codex_lb.gateway.turn.attempt import HttpAttempt
from codex_lb.gateway.turn.context import TurnContext, Wish
from codex_lb.gateway.turn.sse import Segment
from codex_lb.gateway.upstream.http import UpstreamHttp

BodyFor = Callable[[str], bytes]  # by account id


class ChatCaller:
    """A request per attempt, with the body that the account of the attempt may see."""

    def __init__(self, upstream: UpstreamHttp, body_for: BodyFor, *, owner: str, event_bytes_max: int) -> None:
        self._upstream = upstream
        self._body_for = body_for
        self._wish = Wish(owner)
        self._event_bytes_max = event_bytes_max

    def wish(self) -> Wish:
        return self._wish

    def attempt(self, context: TurnContext) -> ChatAttempt:
        return ChatAttempt(context, self._upstream, self._body_for, event_bytes_max=self._event_bytes_max)


class ChatAttempt:
    """An HTTP attempt that knows its body once it has its lease."""

    def __init__(
        self, context: TurnContext, upstream: UpstreamHttp, body_for: BodyFor, *, event_bytes_max: int
    ) -> None:
        self._context = context
        self._upstream = upstream
        self._body_for = body_for
        self._event_bytes_max = event_bytes_max
        self._inner: HttpAttempt | None = None

    @property
    def outcome(self) -> Outcome | None:
        return self._inner.outcome if self._inner else None

    @property
    def withheld(self) -> list[Segment]:
        return self._inner.withheld if self._inner else []

    @property
    def has_told_failure(self) -> bool:
        return self._inner is not None and self._inner.has_told_failure

    async def run(self, holding: Holding) -> Outcome:
        body = self._body_for(holding.lease.account_id)
        self._inner = HttpAttempt(self._context, self._upstream, body, event_bytes_max=self._event_bytes_max)
        return await self._inner.run(holding)
