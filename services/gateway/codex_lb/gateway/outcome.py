"""How an attempt can end, and what a failure is: the closed set of values every decision of a turn matches on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Blame(StrEnum):
    """Whose a fault is. Only an account's faults may touch an account."""

    CLIENT = "client"
    ACCOUNT = "account"
    MODEL = "model"
    UPSTREAM = "upstream"
    NETWORK = "network"
    US = "us"


SILENCE = "stream_idle_timeout"  # our own code: upstream said nothing for too long
# Codes with which upstream says that it has lost what a request refers to.
STATE_LOST = frozenset({"invalid_encrypted_content", "previous_response_not_found"})


@dataclass(frozen=True, slots=True)
class Fault:
    """A classified failure."""

    code: str  # upstream's own where it gave one
    blame: Blame
    message: str
    status: int = 0  # HTTP status that upstream answered; 0 when it was no HTTP answer
    body: bytes = b""  # upstream's own error body, for passing on unchanged
    content_type: str = ""
    plan: str = ""
    resets_at: datetime | None = None  # when the quota returns, if upstream said so
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as upstream counted them."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completed:
    """Upstream finished its answer (also one that it ended early and says so: `response.incomplete`)."""

    usage: Usage | None
    response_id: str
    service_tier: str


@dataclass(frozen=True, slots=True)
class Limited:
    """A quota or rate is used up: as a status, an event or a close, it is one and the same."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Rejected:
    """Upstream refused for another stated reason."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Broken:
    """The answer broke off or never began."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The client hung up."""


Outcome = Completed | Limited | Rejected | Broken | Abandoned
Failure = Limited | Rejected | Broken
