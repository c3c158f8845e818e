"""What controls that share a database tell one another, so that each can answer from its own memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from codex_lb.control.domain.continuity import Failure
from codex_lb.control.domain.evidence import Evidence
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.lease import Anchor
from codex_lb.control.domain.refresh import Task


class Subject(StrEnum):
    """What was changed and is kept elsewhere; whoever hears of it reads it anew."""

    EVERYTHING = "everything"  # somebody could not be told what it was
    SETTINGS = "settings"
    ACCOUNT = "account"
    API_KEYS = "api_keys"
    KEY_USE = "key_use"  # a limit of an API key is used up, or no longer is
    CATALOG = "catalog"
    EXCHANGES = "exchanges"


@dataclass(frozen=True, slots=True)
class Changed:
    """Something stored is another than before."""

    subject: Subject
    subject_id: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """An account was observed. Told whole: the ledger stores it later, and not all of it."""

    account_id: AccountId
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Bound:
    """Conversations were served by an account."""

    keys: tuple[bytes, ...]
    account_id: AccountId


@dataclass(frozen=True, slots=True)
class Unbound:
    """Habits were dropped."""

    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Remembered:
    """An account gave anchors."""

    anchors: tuple[Anchor, ...]
    account_id: AccountId


@dataclass(frozen=True, slots=True)
class Failed:
    """Upstream failed a turn."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Hurried:
    """A task is to be done at once."""

    task: Task


Event: TypeAlias = Changed | Observed | Bound | Unbound | Remembered | Failed | Hurried


class Events(Protocol):
    """From each control to all others, in the order in which one tells them."""

    def publish(self, event: Event) -> None:
        """Tells the others, soon. When they cannot be told for long, they read everything anew."""
        ...

    async def follow(
        self, take_in: Callable[[Event], Awaitable[None]], read_anew: Callable[[], Awaitable[None]]
    ) -> None:
        """Hands over what others tell, for as long as control lives; `read_anew` whenever something may be missed."""
        ...
