"""Shows accounts as they stand now. Answered from memory, so it works while the database is away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codex_lb.control.domain.account import Account
from codex_lb.control.domain.evidence import CreditsSeen, QuotaSeen, Standing, UsageSeen
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.window import WindowKind
from codex_lb.control.errors import AccountNotFoundError
from codex_lb.control.usecases.lease_ports import Leases
from codex_lb.control.usecases.pages import Page, page_of
from codex_lb.control.usecases.pool import Member, Pool
from codex_lb.kit.clock import Clock


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account with all that people ask about it."""

    account: Account
    standing: Standing
    usage: Mapping[WindowKind, UsageSeen]
    streams_in_use: int
    quotas: tuple[QuotaSeen, ...] = ()
    credits: CreditsSeen | None = None


class ViewAccounts:
    """The verbs get and list."""

    def __init__(self, pool: Pool, leases: Leases, clock: Clock) -> None:
        self._pool = pool
        self._leases = leases
        self._clock = clock

    def one(self, account_id: AccountId) -> AccountView:
        """Raises AccountNotFoundError."""
        return self.view(member_of(self._pool, account_id))

    def page(self, *, size: int, token: str) -> Page[AccountView]:
        """Accounts behind the page token's, oldest first. Raises InvalidPageTokenError."""
        views = (self.view(member) for member in self._pool.members())
        return page_of(views, lambda v: (v.account.created_at, v.account.account_id), size=size, token=token)

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
