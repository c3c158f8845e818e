"""What a turn is made of, as its parts see it: the request, where the answer goes, how upstream is spoken to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from codex_lb.gateway.continuity.classify import NO_CONTINUITY, Continuity
from codex_lb.gateway.errors import GatewayError
from codex_lb.gateway.leasing.held import Holding
from codex_lb.gateway.leasing.lease import Timings
from codex_lb.gateway.outcome import Outcome
from codex_lb.gateway.turn.deadline import Deadline
from codex_lb.gateway.turn.sse import Segment
from codex_lb.gateway.upstream.headers import Header, RawHeader
from codex_lb.kit.clock import Clock


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """A request that passed ingress."""

    turn_id: str
    started: float  # monotonic
    started_at: datetime
    route: str
    headers: tuple[RawHeader, ...]
    body: bytes  # for upstream
    content_encoding: str  # of that body
    requested_model: str
    model: str
    reasoning_effort: str
    service_tier: str
    api_key_id: str
    user_agent: str
    client_ip: str
    session_id: str
    request_bytes: int
    continuity: Continuity = NO_CONTINUITY
    hides_quota: bool = False  # whether the client must not see how full the pool is
    input_tokens_max: int = 0  # what it may use, for its key's limits; unknown before the answer


class Delivery(Protocol):
    """Where an answer goes: a stream of events, one object, frames of a WebSocket."""

    transport: str  # for the request log
    status: int  # what the client was told, 0 for nothing yet
    bytes_sent: int
    is_ended: bool  # the last byte was handed over: a client that is gone from here on has its answer

    @property
    def is_visible(self) -> bool:
        """Whether anything of an answer was given to the client."""
        ...

    def begin(self, headers: list[Header], account_id: str) -> None:
        """An attempt got its status line; what an earlier one collected is void."""
        ...

    async def take(self, segment: Segment) -> None:
        """An event of the answer, or a run of them."""
        ...

    async def flush(self) -> None:
        """Hands over what `take` took; called once for all that upstream sent in one piece."""
        ...

    async def keep_alive(self) -> None:
        """Nothing has been sent for a while."""
        ...

    async def end(self) -> None:
        """The answer is whole."""
        ...

    async def fail(self, error: GatewayError) -> bool:
        """Says in the stream that there will be no answer; False when nothing was sent and a status can say it."""
        ...

    async def pass_on(self, withheld: list[Segment]) -> bool:
        """Gives the client upstream's own refusal, events as they came; False when a status must say it."""
        ...


@dataclass(frozen=True, slots=True)
class TurnContext:
    """One turn in progress."""

    request: TurnRequest
    delivery: Delivery
    deadline: Deadline
    timings: Timings
    clock: Clock

    def elapsed(self) -> float:
        """Seconds since the request was read."""
        return self.clock.monotonic() - self.request.started

    def silent_s(self) -> float:
        """Seconds since upstream said something, or was asked."""
        asked = self.request.started + (self.timings.dispatched_s or 0.0)
        return self.clock.monotonic() - max(self.deadline.heard, asked)


class Attempt(Protocol):
    """One upstream call under a lease."""

    @property
    def outcome(self) -> Outcome | None:
        """How it ended, known as soon as upstream has said so, even before `run` returns."""
        ...

    @property
    def withheld(self) -> list[Segment]:
        """Events that were not shown because no output followed them."""
        ...

    @property
    def has_told_failure(self) -> bool:
        """Whether the client was given upstream's own failure already."""
        ...

    async def run(self, holding: Holding) -> Outcome:
        """Calls upstream and relays its answer; every way in which that can end is an outcome."""
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """Which account a turn would rather have."""

    account_id: str = ""
    is_bound: bool = False  # nobody else will do
    upstream_transport: str = "http"


class Caller(Protocol):
    """How a turn speaks to upstream: by requests, or over a socket that outlives it."""

    def wish(self) -> Wish:
        """Asked before every lease."""
        ...

    def attempt(self, context: TurnContext) -> Attempt:
        """The next attempt."""
        ...
