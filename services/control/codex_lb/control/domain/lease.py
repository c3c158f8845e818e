"""The lease: a fenced, time-bounded right to spend one turn on one account, and how it ends.

What is made with every turn is a struct: it is made, compared and copied several times as fast as a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Struct, field

from codex_lb.control.domain.evidence import Evidence
from codex_lb.control.domain.ids import AccountId, LeaseId, TurnId

PASSED_OVER_SHOWN = 16  # accounts a decision names one by one; the rest are counted


class Work(StrEnum):
    """What a lease is for."""

    TURN = "turn"
    COMPACTION = "compaction"
    TRANSCRIPTION = "transcription"
    FILE = "file"
    CODEX_CONTROL = "codex_control"
    IMAGE = "image"


class ContinuityClass(StrEnum):
    """Who may serve a turn (architecture, section 4)."""

    FREE = "free"
    SOFT = "soft"
    OWNER_PREFERRING = "owner_preferring"
    OWNER_BOUND = "owner_bound"


class AnchorKind(StrEnum):
    """What an anchor stands for."""

    RESPONSE = "response"
    FILE = "file"
    TURN_STATE = "turn_state"
    REASONING = "reasoning"
    COMPACTION = "compaction"


class Anchor(Struct, frozen=True):
    """Upstream state that only one account can read, by its SHA-256."""

    kind: AnchorKind
    digest: bytes


class Continuity(Struct, frozen=True):
    """What ties a turn to accounts, classified once by the gateway."""

    kind: ContinuityClass = ContinuityClass.FREE
    anchors: tuple[Anchor, ...] = ()
    affinity_keys: tuple[bytes, ...] = ()
    is_full_context: bool = True


class Wanted(Struct, frozen=True):
    """A lease somebody asks for."""

    turn_id: TurnId
    attempt: int
    work: Work
    model: str
    service_tier: str = ""
    api_key_id: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    continuity: Continuity = field(default_factory=Continuity)
    excluded: Mapping[AccountId, str] = field(default_factory=dict)
    preferred: AccountId | None = None  # whose state the turn refers to; binding when the class is OWNER_BOUND
    wait_max_s: float = 0.0


class PassedOver(Struct, frozen=True):
    """An account that was not chosen, and why."""

    account_id: AccountId
    reason: str
    until: datetime | None = None


class Decision(Struct, frozen=True):
    """How a lease came about, or why there is none."""

    strategy: str
    affinity: str
    candidates: int
    eligible: int
    passed_over: tuple[PassedOver, ...]
    passed_over_counts: Mapping[str, int]
    waited_s: float = 0.0
    position: int = 0  # in the queue of those who waited, from 1; 0: it never waited


NO_DECISION = Decision("", "", 0, 0, (), {})


class ReservedAmount(Struct, frozen=True):
    """A lease's share of one limit."""

    limit_id: str
    amount: int
    window_started_at: datetime


class Lease(Struct, frozen=True):
    """A granted lease, complete enough to be rebuilt from a gateway's announcement."""

    lease_id: LeaseId
    epoch: int
    account_id: AccountId
    generation: int
    turn_id: TurnId
    attempt: int
    work: Work
    api_key_id: str
    model: str
    reservation: tuple[ReservedAmount, ...]
    granted_at: datetime
    decision: Decision


class Outcome(StrEnum):
    """How a lease or a turn ended."""

    COMPLETED = "completed"
    LIMITED = "limited"
    REJECTED = "rejected"
    BROKEN = "broken"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"
    REFUSED = "refused"


class Blame(StrEnum):
    """Whose a fault is."""

    CLIENT = "client"
    ACCOUNT = "account"
    MODEL = "model"
    UPSTREAM = "upstream"
    NETWORK = "network"
    US = "us"


class Fault(Struct, frozen=True):
    """A classified failure."""

    code: str
    blame: Blame
    status: int  # HTTP status of upstream, 0 when it was no HTTP answer
    message: str


class Usage(Struct, frozen=True):
    """Tokens as upstream counted them."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    total_tokens: int


class Timings(Struct, frozen=True):
    """Seconds since the request was read; None where the point was not reached."""

    leased_s: float | None = None
    dispatched_s: float | None = None
    first_byte_s: float | None = None
    first_output_s: float | None = None
    total_s: float | None = None


class Settlement(Struct, frozen=True):
    """The end of a lease, with all that is to be recorded of it."""

    lease: Lease
    outcome: Outcome
    fault: Fault | None
    usage: Usage | None
    timings: Timings
    evidence: tuple[Evidence, ...]
    anchors: tuple[Anchor, ...]
    calls: int
    service_tier: str
    upstream_transport: str
    ended_at: datetime
    cost_micro_usd: int | None = None  # unknown is never 0
    cost_source: str = ""  # the rates it is from, or why there is none
    failed_affinity_keys: tuple[bytes, ...] = ()  # of the conversation, if upstream failed it; not kept

    @property
    def is_failing(self) -> bool:
        """Whether upstream failed the turn, for whatever reason that may meet other turns on the account as well."""
        return self.fault is not None and self.fault.blame in (Blame.ACCOUNT, Blame.MODEL, Blame.UPSTREAM)

    @property
    def lasted_s(self) -> float:
        """From the grant to the end, as the gateway saw it."""
        return max(0.0, (self.timings.total_s or 0.0) - (self.timings.leased_s or 0.0))


class TurnReport(Struct, frozen=True):
    """One line of the request log."""

    turn_id: TurnId
    started_at: datetime
    outcome: Outcome
    fault: Fault | None
    lease_id: str
    account_id: str
    attempts: int
    api_key_id: str
    work: Work
    route: str
    transport: str
    requested_model: str
    model: str
    reasoning_effort: str
    service_tier: str
    actual_service_tier: str
    usage: Usage | None
    timings: Timings
    status: int
    user_agent: str
    client_ip: str
    response_id: str
    session_id: str
    request_bytes: int
    response_bytes: int
    cost_micro_usd: int | None = None
    cost_source: str = ""
    decision: Decision | None = None  # why there was no lease, or no further one


def epoch_of(term: int, counter: int) -> int:
    """A fence that rises with every grant, also across restarts: each start of control takes a new term."""
    return (term << 40) | counter
