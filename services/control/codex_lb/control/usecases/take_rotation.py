"""Takes in what came of an exchange of tokens: the new pair, committed before anything uses it, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import structlog

from codex_lb.control.domain.account import Credential
from codex_lb.control.domain.ids import TicketId
from codex_lb.control.domain.refresh import RotationReport, Task, TicketFailure, TicketKind
from codex_lb.control.domain.rotation import Exchange, ExchangeOutcome, login_of, outcome_of, refusal_of
from codex_lb.control.errors import CredentialUnreadableError, InvalidReportError, StaleEpochError
from codex_lb.control.usecases.ledger_ports import Ledger
from codex_lb.control.usecases.policy_feed import PolicyFeed
from codex_lb.control.usecases.pool import Member, Pool
from codex_lb.control.usecases.ports import Store
from codex_lb.control.usecases.refresh_ports import Tickets
from codex_lb.control.usecases.rotations import Rotations, told
from codex_lb.control.usecases.vault_ports import Vault
from codex_lb.kit.clock import Clock

log = structlog.get_logger(__name__)


class TakeRotation:
    """The verb. It goes by the journal and not by the ticket: a pair that comes late, or after a restart, is as good."""

    def __init__(
        self,
        pool: Pool,
        rotations: Rotations,
        tickets: Tickets,
        store: Store,
        ledger: Ledger,
        vault: Vault,
        feed: PolicyFeed,
        clock: Clock,
        *,
        read_expiry: Callable[[str], datetime | None],
    ) -> None:
        self._pool = pool
        self._rotations = rotations
        self._tickets = tickets
        self._store = store
        self._ledger = ledger
        self._vault = vault
        self._feed = feed
        self._clock = clock
        self._read_expiry = read_expiry

    def knows(self, ticket_id: TicketId) -> bool:
        """Whether a ticket is a rotation's."""
        return self._rotations.find(ticket_id) is not None

    async def __call__(self, ticket_id: TicketId, *, epoch: int, observed_at: datetime, result: object) -> None:
        """Raises StaleEpochError for what would overwrite something newer, InvalidReportError for another's result."""
        exchange = self._rotations.find(ticket_id)
        if exchange is None or exchange.epoch != epoch:
            raise StaleEpochError("There is no exchange of tokens under this ticket any more.")
        match result:
            case RotationReport():
                await self._take_pair(exchange, result, observed_at)
            case TicketFailure():
                await self._take_failure(exchange, result, observed_at)
            case _:
                raise InvalidReportError("result: a rotation ticket ends with rotation or failure.")
        self._feed.refresh_pool()

    async def _take_pair(self, exchange: Exchange, pair: RotationReport, observed_at: datetime) -> None:
        async with self._pool.changing:
            exchange = self._rotations.find(exchange.ticket_id) or exchange
            if exchange.outcome is ExchangeOutcome.ROTATED:
                return  # said again, because our answer got lost
            member = self._newest(exchange)
            known = member.account
            was_rejected = login_of(known, member.record).rejected_at is not None
            account = replace(
                known,
                generation=known.generation + 1,
                access_expires_at=self._read_expiry(pair.access_token),
                refreshed_at=observed_at,
                updated_at=self._clock.now(),
            )
            sealed = self._vault.seal(self._credential(member, pair), generation=account.generation)
            async with self._store.begin(writing=True) as unit:
                is_newest = await unit.accounts.replace_credential(account, sealed)
                outcome = ExchangeOutcome.ROTATED if is_newest else ExchangeOutcome.UNKNOWN
                await self._rotations.end(exchange, outcome, unit)
            await self._close(exchange, outcome)
            if not is_newest:
                raise StaleEpochError("A newer login is stored; this pair is not taken over.")
            self._pool.put(account, sealed)
        log.info("tokens rotated", account_id=account.account_id, generation=account.generation)
        if was_rejected:
            await self._tickets.hurry(Task(TicketKind.USAGE, account.account_id), now=self._clock.now())

    def _newest(self, exchange: Exchange) -> Member:
        """The account whose login is still the one that was traded. Raises StaleEpochError."""
        member = self._pool.get(exchange.account_id)
        if member is None or member.account.generation != exchange.generation:
            raise StaleEpochError("The account is gone or has a newer login; this pair is not taken over.")
        if not exchange.is_open or self._rotations.is_superseded(exchange):
            raise StaleEpochError("A newer ticket is out for this account; this pair is not taken over.")
        return member

    def _credential(self, member: Member, pair: RotationReport) -> Credential:
        id_token = pair.id_token
        if not id_token:
            try:
                id_token = self._vault.open(member.sealed).id_token
            except CredentialUnreadableError:
                id_token = ""  # it only says whose the login is, which we know
        return Credential(pair.access_token, pair.refresh_token, id_token, self._read_expiry(pair.access_token))

    async def _take_failure(self, exchange: Exchange, failure: TicketFailure, observed_at: datetime) -> None:
        if not exchange.is_open:
            return
        outcome = outcome_of(failure)
        member = self._pool.get(exchange.account_id)
        is_newest = member is not None and member.account.generation == exchange.generation
        log.warning(
            "rotation failed" if is_newest else "rotation of a login that is no longer the newest failed",
            **told(exchange),
            code=failure.code,
            status=failure.status,
            message=failure.message,
            outcome=outcome.value,
        )
        # Against a newer login the refusal of an older one says nothing.
        refusal = refusal_of(failure, generation=exchange.generation, observed_at=observed_at) if is_newest else None
        if refusal is not None and self._pool.observe(exchange.account_id, refusal):
            log.error("the issuer ended a login", account_id=exchange.account_id, code=failure.code)
            await self._ledger.write([], [], [(exchange.account_id, refusal)])
        async with self._store.begin(writing=True) as unit:
            await self._rotations.end(exchange, outcome, unit)
        await self._close(exchange, outcome)

    async def _close(self, exchange: Exchange, outcome: ExchangeOutcome) -> None:
        """The task is in nobody's hands; when it is next due follows from the journal."""
        ticket = self._rotations.ended(exchange, outcome)
        if ticket is not None:
            await self._tickets.end(ticket, next_due_at=self._clock.now())
