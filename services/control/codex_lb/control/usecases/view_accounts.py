"""Shows accounts as they stand now. Answered from memory, so it works while the database is away."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from codex_lb.control.domain.account import Account
from codex_lb.control.domain.evidence import CreditsSeen, QuotaSeen, Standing, UsageSeen
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.window import WindowKind
from codex_lb.control.errors import AccountNotFoundError, InvalidPageTokenError
from codex_lb.control.usecases.pool import Member, Pool
from codex_lb.control.usecases.ports import Leases
from codex_lb.kit.clock import Clock

PAGE_SIZE = 100  # where none is asked for
PAGE_SIZE_MAX = 1000


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account with all that people ask about it."""

    account: Account
    standing: Standing
    usage: Mapping[WindowKind, UsageSeen]
    streams_in_use: int
    quotas: tuple[QuotaSeen, ...] = ()
    credits: CreditsSeen | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the accounts."""

    accounts: tuple[AccountView, ...]
    next_page_token: str  # empty on the last page
    total: int


class ViewAccounts:
    """The verbs get and list."""

    def __init__(self, pool: Pool, leases: Leases, clock: Clock) -> None:
        self._pool = pool
        self._leases = leases
        self._clock = clock

    def one(self, account_id: AccountId) -> AccountView:
        """Raises AccountNotFoundError."""
        return self.view(member_of(self._pool, account_id))

    def page(self, *, size: int, token: str) -> Page:
        """Accounts behind the page token's, oldest first. Raises InvalidPageTokenError."""
        size = min(size, PAGE_SIZE_MAX) if size > 0 else PAGE_SIZE
        after = _read_token(token) if token else None
        members = sorted(self._pool.members(), key=_position)
        rest = members if after is None else [m for m in members if _position(m) > after]
        next_token = _write_token(_position(rest[size - 1])) if len(rest) > size else ""
        return Page(tuple(self.view(m) for m in rest[:size]), next_token, len(members))

    def view(self, member: Member) -> AccountView:
        """A member as people see it."""
        return AccountView(
            account=member.account,
            standing=member.standing_at(self._clock.now()),
            usage=member.record.usage,
            streams_in_use=self._leases.in_use(member.account.account_id),
            quotas=tuple(quota for _, quota in sorted(member.record.quotas.items())),
            credits=member.record.credits,
        )


def member_of(pool: Pool, account_id: AccountId) -> Member:
    """The member of that id. Raises AccountNotFoundError."""
    member = pool.get(account_id)
    if member is None:
        raise AccountNotFoundError(f"There is no account {account_id!r}.")
    return member


def _position(member: Member) -> tuple[str, str]:
    # Where an account stands in the list never changes, so a page token stays good whatever happens in between.
    return _sortable(member.account.created_at), member.account.account_id


def _sortable(instant: datetime) -> str:
    return f"{instant.timestamp():020.6f}"


def _write_token(position: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(" ".join(position).encode()).decode()


def _read_token(token: str) -> tuple[str, str]:
    try:
        created_at, found, account_id = base64.urlsafe_b64decode(token).decode().partition(" ")
    except (binascii.Error, ValueError):
        found = ""
    if not found:
        raise InvalidPageTokenError("page_token is not one that ListAccounts gave.")
    return created_at, account_id
