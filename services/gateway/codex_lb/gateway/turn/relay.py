"""What every attempt does with the events of an answer, however they came: hold back, show, judge, learn."""

from __future__ import annotations

from codex_lb.gateway.continuity.classify import anchors_in
from codex_lb.gateway.leasing.held import Holding
from codex_lb.gateway.outcome import Blame, Broken, Completed, Fault, Limited, Outcome
from codex_lb.gateway.turn.context import TurnContext
from codex_lb.gateway.turn.meter import read_error_event, read_terminal
from codex_lb.gateway.turn.sse import Kind, Segment
from codex_lb.gateway.upstream import quota
from codex_lb.gateway.upstream.blame import judge_event

WITHHELD_MAX = 64  # events held back before the first output; upstream sends two or three

NOT_OUTPUT = frozenset({Kind.PRELUDE, Kind.COMMENT, Kind.RATE_LIMITS, Kind.PRIVATE})


class Relay:
    """The state of one answer."""

    def __init__(self, context: TurnContext, holding: Holding) -> None:
        self._context = context
        self._holding = holding
        self._has_output = False
        self._hides_quota = context.request.hides_quota
        self.outcome: Outcome | None = None  # known as soon as upstream has said how it ends
        self.has_told_failure = False  # the client was given upstream's own failure
        self.withheld: list[Segment] = []

    async def take(self, segment: Segment) -> None:
        """The next event, or run of events. What follows a failure is nothing, and no failure follows an answer."""
        if isinstance(self.outcome, Completed):
            if segment.kind not in (Kind.FAILED, Kind.ERROR):
                await self._give(segment)
        elif segment.kind is Kind.ORDINARY and self._has_output:
            await self._give(segment)
        elif self.outcome is None:
            await self._consider(segment)

    async def flush(self) -> None:
        """What was taken goes to the client; the time that takes is the client's."""
        deadline = self._context.deadline
        deadline.giving_since = deadline.heard
        await self._context.delivery.flush()
        deadline.giving_since = None

    def learn(self, windows: tuple[quota.WindowSeen, ...]) -> None:
        """What the answer shows of the account's quota."""
        if windows:
            self._holding.end.quota = windows
            self._holding.end.quota_at = self._context.clock.now()

    def broken(self, fault: Fault) -> Outcome:
        """The connection ended; how the answer did. An account that is at 100 % and says nothing more has said why."""
        if self.outcome is not None:
            return self.outcome
        full = next((window for window in self._holding.end.quota if window.used_percent >= 100), None)
        if full is None or self._has_output:
            return Broken(fault)
        message = "The usage limit has been reached"
        return Limited(Fault("usage_limit_reached", Blame.ACCOUNT, message, resets_at=full.resets_at))

    async def _consider(self, segment: Segment) -> None:
        """An event that means something to the turn, or the first that carries output."""
        kind = segment.kind
        if kind is Kind.RATE_LIMITS:
            self.learn(quota.read_event(segment.data))
        if kind is Kind.ITEM_DONE:
            self._holding.end.anchors += anchors_in(segment.data)
        if kind in (Kind.FAILED, Kind.ERROR):
            await self._failed(segment)
            return
        if kind in NOT_OUTPUT and not self._has_output and len(self.withheld) < WITHHELD_MAX:
            self.withheld.append(segment)
            return
        if kind in (Kind.COMPLETED, Kind.INCOMPLETE):
            # Read before it is shown: a client that leaves with its last event has cost what it cost.
            finished = read_terminal(segment.data)
            self.outcome = Completed(finished.usage, finished.response_id, finished.service_tier)
        await self._show(segment)

    async def _failed(self, segment: Segment) -> None:
        """Upstream's own failure: kept for the turn, or shown if the client holds a part of the answer already.

        An account's failure is not the client's business even then: the turn tells one of its own.
        """
        data = segment.data
        error = read_terminal(data).error if segment.kind is Kind.FAILED else read_error_event(data)
        failure = judge_event(error, now=self._context.clock.now())
        self.outcome = failure
        if not self._context.delivery.is_visible:
            self.withheld.append(segment)
        elif segment.kind is Kind.FAILED and failure.fault.blame is not Blame.ACCOUNT:
            self.has_told_failure = True
            await self._give(segment)

    async def _show(self, segment: Segment) -> None:
        if not self._has_output:
            self._has_output = True
            self._context.timings.first_output_s = self._context.elapsed()
            for held_back in self.withheld:
                await self._give(held_back)
            self.withheld = []
        await self._give(segment)

    async def _give(self, segment: Segment) -> None:
        if self._hides_quota and segment.kind is Kind.RATE_LIMITS:
            return
        deadline = self._context.deadline
        deadline.giving_since = deadline.heard
        await self._context.delivery.take(segment)
        deadline.giving_since = None
        deadline.told = deadline.heard
