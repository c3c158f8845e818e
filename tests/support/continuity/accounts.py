"""Accounts as upstream knows them, what is asked of them, and what of that is written down."""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum, auto

from codex_lb.kit.clock import Clock
from tests.support.simulator import tokens
from tests.support.simulator.answers import Answer

speaking: ContextVar[str] = ContextVar("speaking", default="")  # the thread whose request this is


class Cost(Enum):
    """What a turn's budget pays for a call that fails."""

    ACCOUNT = auto()
    LIMIT = auto()
    LOGIN = auto()


@dataclass
class SimAccount:
    """An account as upstream knows it."""

    name: str
    token: str
    limited_until: float = 0.0  # epoch seconds
    is_dead: bool = False  # its token is no longer good
    script: deque[str] = field(default_factory=deque)
    cache: tokens.PrefixCache = field(default_factory=tokens.PrefixCache)
    last_failed: float = -1e9  # when a failure of a turn began or ended, by the loop's clock
    silent: int = 0  # turns that it leaves without a word

    @property
    def chatgpt_account_id(self) -> str:
        """As the header names it."""
        return f"chatgpt-{self.name}"


@dataclass(eq=False)
class Call:
    """A turn that upstream answered, or refused, or a socket that it did not open."""

    account: str
    at: float  # by the loop's clock, as all instants here
    thread: str = field(default_factory=speaking.get)
    answer: Answer | None = None
    has_begun: bool = False  # the caller got something
    heard_at: float = 0.0  # when it last did
    is_visible: bool = False  # some output was handed over
    is_completed: bool = False  # its last event was handed over
    is_cut: bool = False  # somebody pulls the plug
    failed_at: float | None = None  # when it was over, if it failed
    cost: Cost = Cost.ACCOUNT

    def __post_init__(self) -> None:
        self.heard_at = self.at


@dataclass
class History:
    """What happened, for people who want to know why."""

    clock: Clock
    lines: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Adds a line."""
        self.lines.append(f"{self.clock.monotonic():9.3f} {text}")
