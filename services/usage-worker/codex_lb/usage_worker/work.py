"""What the worker is given and what it finds: tickets, the credentials in them, and the closed set of results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class TicketKind(StrEnum):
    """What a ticket is for; only the kinds that this worker can do."""

    USAGE = "usage"
    MODELS = "models"
    ROTATION = "rotation"
    PROBE = "probe"
    ALERT = "alert"


@dataclass(frozen=True, slots=True)
class Credential:
    """What it takes to speak as an account. Tokens stay out of its repr, and so out of logs."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)  # empty unless the ticket is a rotation
    chatgpt_account_id: str  # value of upstream's header; empty when there is none to send
    generation: int


@dataclass(frozen=True, slots=True)
class Post:
    """A request that tells somebody of an alert. Its URL may hold a token and stays out of its repr."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A fenced claim on one task of one account. Its instants are readings of this process' monotonic clock."""

    ticket_id: str
    epoch: int
    kind: TicketKind
    account_id: str
    credential: Credential
    starts_at: float  # when control would like the work to begin
    lapses_at: float  # when control may give it away; never later than control's own idea of it
    model: str = ""  # which to ask; only in probes
    post: Post | None = None  # what to send; only in alerts


class WindowKind(StrEnum):
    """Which of upstream's windows."""

    PRIMARY = "primary"  # 5 hours
    SECONDARY = "secondary"  # a week
    MONTHLY = "monthly"


@dataclass(frozen=True, slots=True)
class Window:
    """One accounting window."""

    kind: WindowKind
    used_percent: float  # 0 to 100
    length_s: float
    resets_at: datetime | None


@dataclass(frozen=True, slots=True)
class AdditionalQuota:
    """A quota beside the main one, such as that of a particular model."""

    limit_name: str
    metered_feature: str
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class UsageFound:
    """An account's usage."""

    plan: str = ""
    windows: tuple[Window, ...] = ()
    additional_quotas: tuple[AdditionalQuota, ...] = ()
    has_credits: bool = False
    credits_unlimited: bool = False
    credits_balance: str = ""
    workspace_id: str = ""
    reset_credits_available: int = 0


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One model: its slug, and upstream's entry byte by byte."""

    slug: str
    entry_json: bytes


@dataclass(frozen=True, slots=True)
class ModelsFound:
    """The catalog as one account sees it, in upstream's order."""

    models: tuple[ListedModel, ...]


@dataclass(frozen=True, slots=True)
class TokensRotated:
    """A fresh pair of tokens; the old refresh token is spent. All of it stays out of the repr."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    id_token: str = field(repr=False)  # empty when the issuer sent none


@dataclass(frozen=True, slots=True)
class Probed:
    """How the small turn of a probe ended."""

    is_served: bool
    status: int  # HTTP status that upstream answered, 0 when it was no HTTP answer
    code: str = ""  # stable: upstream's own where it gave one; empty when it served
    message: str = ""  # a sentence of ours; empty when it served
    resets_at: datetime | None = None  # when the quota returns, if upstream said so
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Told:
    """An alert was taken."""

    status: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no result."""

    code: str  # stable: upstream's own where it gave one
    status: int  # HTTP status that upstream answered, 0 when it was no HTTP answer
    message: str  # a sentence of ours: upstream's own text may quote a token and is never passed on
    is_transient: bool  # trying again later may help


Result = UsageFound | ModelsFound | TokensRotated | Probed | Told | Failure


@dataclass(frozen=True, slots=True)
class Found:
    """A result and when it was obtained: the instant for people, the reading for measuring its age."""

    result: Result
    observed_at: datetime
    obtained_at: float
