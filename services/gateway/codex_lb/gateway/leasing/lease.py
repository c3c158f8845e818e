"""A lease as the rest of the gateway sees it, and what is said when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum, auto

from msgspec import Struct

from codex_lb.api.control.v1 import leases_pb2 as pb
from codex_lb.gateway.outcome import Outcome, Usage
from codex_lb.gateway.upstream.quota import WindowSeen


class Work(Enum):
    """What a lease is for."""

    TURN = auto()
    COMPACTION = auto()
    TRANSCRIPTION = auto()
    FILE = auto()
    CODEX_CONTROL = auto()
    IMAGE = auto()


class AnchorKind(IntEnum):
    """What an anchor stands for, in control's numbers."""

    FILE = pb.ANCHOR_KIND_FILE
    REASONING = pb.ANCHOR_KIND_REASONING
    COMPACTION = pb.ANCHOR_KIND_COMPACTION


class Anchor(Struct, frozen=True):
    """Upstream state that only one account can read, by its SHA-256."""

    kind: AnchorKind
    digest: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """A lease a turn asks for."""

    turn_id: str
    attempt: int
    model: str
    service_tier: str
    api_key_id: str
    excluded: Mapping[str, str]  # account id -> code of the fault that made the turn leave it
    wait_max_s: float
    preferred_account_id: str = ""  # whose upstream state the turn refers to
    is_bound: bool = False  # nobody else will do
    work: Work = Work.TURN
    input_tokens: int = 0  # what the turn may use, for its key's limits
    output_tokens: int = 0
    anchors: tuple[Anchor, ...] = ()  # state the turn refers to, the newest last
    affinity_keys: tuple[bytes, ...] = ()  # of its conversation, the narrowest first


@dataclass(frozen=True, slots=True)
class Lease:
    """A granted lease. `proof` is control's own message, carried along for the settlement."""

    lease_id: str
    account_id: str
    chatgpt_account_id: str
    access_token: str
    proof: pb.HeldLease
    foreign_anchors: frozenset[bytes] = frozenset()  # what must not be sent to this account
    is_creating_limited: bool = False  # control wants to know when upstream begins to answer

    def __repr__(self) -> str:
        return f"Lease({self.lease_id}, {self.account_id})"  # the token must not reach a log by way of a repr


@dataclass(slots=True)
class Timings:
    """Seconds since the request was read; None where the point was not reached."""

    leased_s: float | None = None
    dispatched_s: float | None = None
    first_byte_s: float | None = None
    first_output_s: float | None = None
    total_s: float | None = None


@dataclass(slots=True)
class LeaseEnd:
    """How a lease ended."""

    outcome: Outcome
    timings: Timings
    ended_at: datetime
    calls: int
    quota: tuple[WindowSeen, ...] = ()
    quota_at: datetime | None = None
    anchors: tuple[Anchor, ...] = ()  # state that passed by and belongs to the account
    failure_keys: tuple[bytes, ...] = ()  # of the conversation, by which it is known again if it failed
    has_begun: bool = False  # upstream began to answer the last call
    silent_s: float = 0.0  # for how long upstream had said nothing when the client hung up


@dataclass(slots=True)
class TurnEnd:
    """One line of the request log."""

    turn_id: str
    started_at: datetime
    outcome: Outcome | None  # None: refused before any upstream call
    refusal_code: str = ""
    refusal_message: str = ""
    lease_id: str = ""
    account_id: str = ""
    attempts: int = 0
    api_key_id: str = ""
    work: Work = Work.TURN
    route: str = ""
    transport: str = ""
    requested_model: str = ""
    model: str = ""
    reasoning_effort: str = ""
    service_tier: str = ""
    actual_service_tier: str = ""
    usage: Usage | None = None
    timings: Timings = field(default_factory=Timings)
    status: int = 0
    user_agent: str = ""
    client_ip: str = ""
    response_id: str = ""
    session_id: str = ""
    request_bytes: int = 0
    response_bytes: int = 0
    decision: pb.Decision | None = None  # why control granted no lease, or no further one
