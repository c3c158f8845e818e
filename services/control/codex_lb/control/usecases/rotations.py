"""Which login is rotated when, and the journal of the exchanges that began. The one place refresh tokens leave."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from codex_lb.control.domain.ids import AccountId, TicketId, WorkerId
from codex_lb.control.domain.refresh import Task, Ticket, TicketKind
from codex_lb.control.domain.rotation import (
    REMEMBERED,
    Exchange,
    ExchangeOutcome,
    Pace,
    fingerprint,
    login_of,
    rotation_due,
)
from codex_lb.control.errors import CredentialUnreadableError, StoreConflictError, StoreUnavailableError
from codex_lb.control.usecases.pool import Member, Pool
from codex_lb.control.usecases.ports import Store, UnitOfWork
from codex_lb.control.usecases.vault_ports import Vault
from codex_lb.kit.clock import Clock

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Begun:
    """An exchange that is in the journal, and the refresh token that may leave now."""

    ticket: Ticket
    generation: int
    refresh_token: str
    start_after_s: float

    def __repr__(self) -> str:
        return f"Begun({self.ticket.ticket_id})"  # tokens must not reach a log by way of a repr


class Rotations:
    """What is known of exchanges, and what people asked for."""

    def __init__(
        self, pool: Pool, store: Store, vault: Vault, clock: Clock, *, interval: timedelta, pace: Pace
    ) -> None:
        self._pool = pool
        self._store = store
        self._vault = vault
        self._clock = clock
        self._interval = interval
        self.pace = pace
        self._exchanges: dict[TicketId, Exchange] = {}
        self._of_account: dict[AccountId, set[TicketId]] = defaultdict(set)
        self._tickets: dict[TicketId, Ticket] = {}  # of this control's; those of an earlier one are gone
        self._wished: dict[AccountId, datetime] = {}
        self._unreadable: dict[AccountId, int] = {}  # the generation that the vault could not open
        self._next_start_at: datetime | None = None
        self._tellers: list[Callable[[], None]] = []
        self._listeners: list[Callable[[AccountId], None]] = []

    def on_change(self, listener: Callable[[AccountId], None]) -> None:
        """Tells a listener of every account that may be due at another time for what happened here."""
        self._listeners.append(listener)

    def on_own_change(self, teller: Callable[[], None]) -> None:
        """Whoever tells other controls that an exchange began or ended here."""
        self._tellers.append(teller)

    def _tell(self) -> None:
        for tell in self._tellers:
            tell()

    async def load(self) -> None:
        """Reads the journal: what an earlier control began and never heard of again counts still."""
        async with self._store.begin(writing=False) as unit:
            recent = await unit.exchanges.recent(since=self._clock.now() - REMEMBERED)
        for exchange in recent:
            is_news = self._exchanges.get(exchange.ticket_id) != exchange
            self._note(exchange)
            if exchange.is_open and is_news and exchange.ticket_id not in self._tickets:
                log.warning("an exchange of tokens was never heard of again", **told(exchange))

    def wish(self, account_id: AccountId) -> None:
        """Somebody asks for a new pair now."""
        self._wished[account_id] = self._clock.now()
        self._changed(account_id)

    def due(self, member: Member) -> Mapping[Task, datetime]:
        """When an account is to be rotated, if ever."""
        account = member.account
        if self._unreadable.get(account.account_id) == account.generation:
            return {}
        due_at = rotation_due(
            login_of(account, member.record),
            self._journal(account.account_id),
            interval=self._interval,
            wished_at=self._wished.get(account.account_id),
        )
        return {} if due_at is None else {Task(TicketKind.ROTATION, account.account_id): due_at}

    def _changed(self, account_id: AccountId) -> None:
        for listener in self._listeners:
            listener(account_id)

    def next_start(self, now: datetime) -> datetime:
        """When the next exchange may start, so that starts stay apart."""
        return max(now, self._next_start_at or now)

    def started(self, start_at: datetime) -> None:
        """An exchange starts then."""
        self._next_start_at = start_at + timedelta(seconds=self.pace.gap_s)

    async def begin(self, claimed: Sequence[tuple[Ticket, datetime]], worker_id: WorkerId) -> list[Begun]:
        """Writes the exchanges down, then hands out the refresh tokens; none for an account whose turn has passed.

        An exchange that cannot be written down does not begin.
        """
        now = self._clock.now()
        opened = [one for ticket, start_at in claimed if (one := self._open(ticket, start_at, worker_id, now))]
        if not opened:
            return []
        try:
            async with self._store.begin(writing=True) as unit:
                await unit.exchanges.begin([exchange for exchange, _ in opened])
        except (StoreUnavailableError, StoreConflictError) as error:
            log.warning("no tokens are rotated now", why=str(error))
            return []
        for exchange, begun in opened:
            self._wished.pop(exchange.account_id, None)
            self._note(exchange)
            self._tickets[exchange.ticket_id] = begun.ticket
        self._tell()
        return [begun for exchange, begun in opened if self._is_newest(exchange)]

    def find(self, ticket_id: TicketId) -> Exchange | None:
        """The exchange of a ticket."""
        return self._exchanges.get(ticket_id)

    def is_superseded(self, exchange: Exchange) -> bool:
        """Whether a newer ticket is out for the same account."""
        return any(other.epoch > exchange.epoch for other in self._journal(exchange.account_id))

    async def end(self, exchange: Exchange, outcome: ExchangeOutcome, unit: UnitOfWork) -> None:
        """Closes the line, with whatever else is committed; `ended` takes it in afterwards."""
        await unit.exchanges.end(exchange.ticket_id, outcome, ended_at=self._clock.now())

    def ended(self, exchange: Exchange, outcome: ExchangeOutcome) -> Ticket | None:
        """The line is closed; the ticket, if this control gave it. What is too old to matter is forgotten."""
        now = self._clock.now()
        self._note(replace(exchange, ended_at=now, outcome=outcome))
        self._tell()
        for old in self._journal(exchange.account_id):
            if old.started_at <= now - REMEMBERED and not self._is_newest(old):
                del self._exchanges[old.ticket_id]
                self._of_account[old.account_id].discard(old.ticket_id)
        return self._tickets.pop(exchange.ticket_id, None)

    def _note(self, exchange: Exchange) -> None:
        self._exchanges[exchange.ticket_id] = exchange
        self._of_account[exchange.account_id].add(exchange.ticket_id)
        self._changed(exchange.account_id)

    def _journal(self, account_id: AccountId) -> list[Exchange]:
        return [self._exchanges[ticket_id] for ticket_id in self._of_account.get(account_id, ())]

    def _open(
        self, ticket: Ticket, start_at: datetime, worker_id: WorkerId, now: datetime
    ) -> tuple[Exchange, Begun] | None:
        member = self._pool.get(ticket.account_id)
        if member is None:
            return None
        refresh_token = self._refresh_token(member)
        if not refresh_token:
            return None
        exchange = Exchange(
            ticket_id=ticket.ticket_id,
            epoch=ticket.epoch,
            account_id=ticket.account_id,
            generation=member.account.generation,
            fingerprint=fingerprint(refresh_token),
            worker_id=worker_id,
            started_at=now,
        )
        return exchange, Begun(ticket, exchange.generation, refresh_token, max(0.0, (start_at - now).total_seconds()))

    def _refresh_token(self, member: Member) -> str:
        try:
            return self._vault.open(member.sealed).refresh_token
        except CredentialUnreadableError as error:
            account = member.account
            log.warning("account left out of rotation", account_id=account.account_id, why=str(error))
            self._unreadable[account.account_id] = account.generation
            self._changed(account.account_id)
            return ""

    def _is_newest(self, exchange: Exchange) -> bool:
        member = self._pool.get(exchange.account_id)
        return member is not None and member.account.generation == exchange.generation


def told(exchange: Exchange) -> dict[str, object]:
    """What a log line says of an exchange."""
    return {
        "ticket_id": exchange.ticket_id,
        "account_id": exchange.account_id,
        "generation": exchange.generation,
        "fingerprint": exchange.fingerprint,
        "worker_id": exchange.worker_id,
        "started_at": exchange.started_at.isoformat(),
    }
