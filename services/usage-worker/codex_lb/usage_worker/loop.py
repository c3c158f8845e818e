"""The worker's life: claim what is due, do it bounded and staggered, report it before it lapses."""

from __future__ import annotations

import itertools
import logging
import random
import traceback
from collections.abc import Awaitable, Callable, Collection
from typing import assert_never

import anyio
import structlog
from anyio.abc import TaskGroup

from codex_lb.kit.backoff import Backoff
from codex_lb.kit.clock import Clock
from codex_lb.kit.service import Stop, first_of
from codex_lb.usage_worker import faults
from codex_lb.usage_worker.alerts import AlertSender
from codex_lb.usage_worker.models import ModelLister
from codex_lb.usage_worker.probe import Prober
from codex_lb.usage_worker.stagger import is_too_late, wait_before_claim, wait_before_start
from codex_lb.usage_worker.tickets import CALL_WITHIN_S, ControlAwayError, ReportRefusedError, Tickets
from codex_lb.usage_worker.tokens import TokenIssuer
from codex_lb.usage_worker.usage import UsageFetcher
from codex_lb.usage_worker.work import Found, Result, Ticket, TicketKind, TokensRotated

HELD_MAX = 32  # tickets waiting or running: enough to keep every place busy, few enough to be done before they lapse
RUNNING_MAX = 8  # a pool of thousands stays fresh with it, and upstream sees no burst
REPORT_WITHIN_S = CALL_WITHIN_S  # kept free at the end of a ticket
DRAIN_WITHIN_S = 5.0  # usage and models are cheap to fetch anew; a rotation in flight takes the time it needs
ROTATION_OFFERED_S = 600.0  # a pair that control does not get is a lost account: offered long after the ticket lapsed
STALLED_AFTER_S = 30.0  # three times the longest turn of the loop: a claim that times out, then the longest wait
CONTROL_AWAY = Backoff(first_s=0.2, max_s=5.0)

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Loop:
    """Keeps tickets moving until told to stop. Nothing that happens to one ticket touches another."""

    def __init__(
        self,
        tickets: Tickets,
        usage: UsageFetcher,
        models: ModelLister,
        tokens: TokenIssuer,
        prober: Prober,
        alerts: AlertSender,
        clock: Clock,
        *,
        kinds: Collection[TicketKind],
        drain_within_s: float = DRAIN_WITHIN_S,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        self._tickets = tickets
        self._usage = usage
        self._models = models
        self._tokens = tokens
        self._prober = prober
        self._alerts = alerts
        self._clock = clock
        self._kinds = kinds
        self._drain_within_s = drain_within_s
        self._sleep = sleep
        self._randomness = randomness
        self._held = 0
        self._places = anyio.Semaphore(RUNNING_MAX)
        self._claims_failed = 0
        self._last_tick_at = clock.monotonic()
        self._needs_s = {
            TicketKind.USAGE: usage.timeout_s + REPORT_WITHIN_S,
            TicketKind.MODELS: models.timeout_s + REPORT_WITHIN_S,
            TicketKind.ROTATION: tokens.timeout_s + REPORT_WITHIN_S,
            TicketKind.PROBE: prober.timeout_s + REPORT_WITHIN_S,
            TicketKind.ALERT: alerts.timeout_s + REPORT_WITHIN_S,
        }

    def trouble(self) -> str | None:
        """Why the loop is not well, for the health page. Control being away is no trouble of the worker's."""
        since_tick_s = self._clock.monotonic() - self._last_tick_at
        return f"the loop has stood still for {since_tick_s:.0f} s" if since_tick_s > STALLED_AFTER_S else None

    async def run(self, stop: Stop) -> None:
        """Works until `stop` is set; then starts nothing new and gives what runs a bounded time."""
        async with anyio.create_task_group() as handling:
            while not stop.is_set:
                self._last_tick_at = self._clock.monotonic()
                wait_s = await self._claim(handling, stop)
                await self._pause(wait_s, stop)
            handling.cancel_scope.deadline = anyio.current_time() + self._drain_within_s

    async def _claim(self, handling: TaskGroup, stop: Stop) -> float:
        """Takes what is due and sets it going; returns the seconds until it is worth asking again."""
        if self._held >= HELD_MAX:
            return wait_before_claim(0.0)
        try:
            claim = await self._tickets.claim(self._kinds, tickets_max=HELD_MAX - self._held)
        except ControlAwayError as error:
            if self._claims_failed == 0:
                log.warning("control is away", error=str(error))
            wait_s = CONTROL_AWAY.delay(self._claims_failed, self._randomness())
            self._claims_failed += 1
            return wait_s
        if self._claims_failed:
            log.info("control is back", claims_failed=self._claims_failed)
            self._claims_failed = 0
        for ticket in claim.tickets:
            self._held += 1
            handling.start_soon(self._handle, ticket, stop)
        return wait_before_claim(claim.next_claim_in_s)

    async def _handle(self, ticket: Ticket, stop: Stop) -> None:
        """One ticket from claim to report."""
        try:
            found = await self._find(ticket, stop)
            if found is not None:
                await self._report(ticket, found)
        except Exception as error:  # one account must not stop the others
            # Where, not what: the text of an error nobody foresaw may quote a token.
            stack = "".join(traceback.format_tb(error.__traceback__))
            log.log(logging.ERROR, "ticket dropped: a defect", **_of(ticket), error=type(error).__name__, stack=stack)
        finally:
            self._held -= 1

    async def _find(self, ticket: Ticket, stop: Stop) -> Found | None:
        """The result, or None when the ticket is left to lapse.

        A rotation that is not begun is told: else control had to take its refresh token for spent.
        """
        needs_s = self._needs_s[ticket.kind]
        await self._pause(wait_before_start(ticket, needs_s=needs_s, now=self._clock.monotonic()), stop)
        async with self._places:
            now = self._clock.monotonic()
            if stop.is_set:
                return self._not_begun(ticket, why="the worker is stopping")
            if is_too_late(ticket, needs_s=needs_s, now=now):
                log.warning("ticket dropped: no time left to begin it", **_of(ticket))
                return self._not_begun(ticket, why="no time left")
            # Shielded: an exchange cut off in the middle may have spent the refresh token for nothing.
            with anyio.move_on_after(
                ticket.lapses_at - REPORT_WITHIN_S - now, shield=ticket.kind is TicketKind.ROTATION
            ):
                result = await self._do(ticket)
                return Found(result, self._clock.now(), self._clock.monotonic())
        log.warning("ticket dropped: its work took too long", **_of(ticket))
        return None

    def _not_begun(self, ticket: Ticket, *, why: str) -> Found | None:
        if ticket.kind is not TicketKind.ROTATION:
            return None
        return Found(faults.not_started(why=why), self._clock.now(), self._clock.monotonic())

    async def _do(self, ticket: Ticket) -> Result:
        match ticket.kind:
            case TicketKind.USAGE:
                return await self._usage.fetch(ticket.credential)
            case TicketKind.MODELS:
                return await self._models.list(ticket.credential)
            case TicketKind.ROTATION:
                return await self._tokens.rotate(ticket.credential.refresh_token)
            case TicketKind.PROBE:
                return await self._prober.probe(ticket.credential, ticket.model)
            case TicketKind.ALERT:
                return await self._alerts.send(ticket.post)
            case _:
                assert_never(ticket.kind)

    async def _report(self, ticket: Ticket, found: Found) -> None:
        """Tells control, or says in the log why it could not be told."""
        is_rotated = isinstance(found.result, TokensRotated)
        why = "the worker was stopped first"
        try:
            why = await self._offer(ticket, found, until=ticket.lapses_at + (ROTATION_OFFERED_S if is_rotated else 0.0))
        finally:
            if why:
                level = logging.ERROR if is_rotated else logging.WARNING  # without its new pair an account is lost
                log.log(level, "ticket dropped: control did not take the result", **_of(ticket), error=why)

    async def _offer(self, ticket: Ticket, found: Found, *, until: float) -> str:
        """Offers the result until control takes it or `until` comes; returns why it was not taken, or nothing."""
        for attempt in itertools.count():
            try:
                with anyio.CancelScope(shield=isinstance(found.result, TokensRotated)):
                    await self._tickets.report(ticket, found)
            except ReportRefusedError as error:
                return str(error)
            except ControlAwayError as error:
                wait_s = CONTROL_AWAY.delay(attempt, self._randomness())
                if self._clock.monotonic() + wait_s >= until:
                    return str(error)
                await self._sleep(wait_s)
            else:
                self._tokens.forget(ticket.credential.refresh_token)
                break
        return ""

    async def _pause(self, seconds: float, stop: Stop) -> None:
        """Waits, but not once `stop` is set."""
        if seconds > 0:
            await first_of(lambda: self._sleep(seconds), stop.wait)


def _of(ticket: Ticket) -> dict[str, str]:
    """What a log line says of a ticket."""
    return {"ticket_id": ticket.ticket_id, "kind": ticket.kind.value, "account_id": ticket.account_id}
