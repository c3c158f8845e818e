"""Ends a ticket with what the worker found: evidence, a plan, a model list, or a failure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias, assert_never

import structlog

from codex_lb.control.domain import probe as probing
from codex_lb.control.domain.account import Account, is_downgrade
from codex_lb.control.domain.evidence import CreditsSeen, Evidence, QuotaSeen, Source, UsageSeen
from codex_lb.control.domain.ids import AccountId, TicketId
from codex_lb.control.domain.probe import ProbeReport
from codex_lb.control.domain.refresh import (
    TICKET_TTL_S,
    Periods,
    RotationReport,
    Task,
    Ticket,
    TicketFailure,
    TicketKind,
    UsageReport,
    evidence_of,
    next_due,
)
from codex_lb.control.errors import InvalidReportError
from codex_lb.control.usecases.alert_deliveries import AlertDeliveries, Sent
from codex_lb.control.usecases.ledger_ports import Ledger
from codex_lb.control.usecases.policy_feed import PolicyFeed
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.ports import Store
from codex_lb.control.usecases.probes import Probes
from codex_lb.control.usecases.refresh_ports import Tickets
from codex_lb.control.usecases.take_rotation import TakeRotation
from codex_lb.kit.clock import Clock

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ModelsReport:
    """What a models ticket found: (slug, entry JSON) in upstream's order."""

    models: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class AlertReport:
    """What an alert ticket found: whoever was told took it."""

    status: int


TicketResult: TypeAlias = UsageReport | ModelsReport | RotationReport | ProbeReport | AlertReport | TicketFailure


class ReportTicket:
    """The verb. Returns once what the ticket found is committed, so that a worker repeats what got lost."""

    def __init__(
        self,
        pool: Pool,
        tickets: Tickets,
        store: Store,
        ledger: Ledger,
        feed: PolicyFeed,
        clock: Clock,
        *,
        periods: Periods,
        take_rotation: TakeRotation,
        probes: Probes,
        deliveries: AlertDeliveries,
    ) -> None:
        self._pool = pool
        self._tickets = tickets
        self._store = store
        self._ledger = ledger
        self._feed = feed
        self._clock = clock
        self._periods = periods
        self._take_rotation = take_rotation
        self._probes = probes
        self._deliveries = deliveries
        self._downgrades: dict[AccountId, int] = {}  # seen once: under which generation

    async def __call__(self, ticket_id: TicketId, *, epoch: int, age_s: float, result: TicketResult) -> None:
        """Raises StaleEpochError when the ticket is no longer the newest of its task."""
        now = self._clock.now()
        observed_at = now - timedelta(seconds=min(max(0.0, age_s), TICKET_TTL_S))
        if isinstance(result, RotationReport) or self._take_rotation.knows(ticket_id):
            await self._take_rotation(ticket_id, epoch=epoch, observed_at=observed_at, result=result)
            return
        ticket = await self._tickets.held(ticket_id, epoch=epoch, now=now)
        if ticket.task.kind is TicketKind.PROBE:
            await self._take_probe(ticket, result, observed_at)
            return
        if ticket.task.kind is TicketKind.ALERT:
            await self._take_alert(ticket, result)
            return
        match result:
            case UsageReport():
                await self._take_usage(ticket.account_id, result, observed_at)
            case ModelsReport(models=models):
                await self._take_models(ticket, models, observed_at)
            case TicketFailure():
                await self._take_failure(ticket, result, observed_at)
            case ProbeReport() | AlertReport():
                raise InvalidReportError("result: it is not of this kind of ticket.")
            case _:
                assert_never(result)
        period_s = self._periods.of(ticket.task.kind)
        if period_s is not None:
            await self._tickets.end(ticket, next_due_at=next_due(ticket.due_at, period_s=period_s, now=now))

    async def _take_usage(self, account_id: AccountId, report: UsageReport, observed_at: datetime) -> None:
        member = self._pool.get(account_id)
        if member is None:
            return
        if not is_about(report, member.account):
            log.warning("usage of another workspace ignored", account_id=account_id, workspace_id=report.workspace_id)
            return
        await self._learn(account_id, list(evidence_in(report, observed_at)))
        if self._is_new_plan(member.account, report):
            await self._change_plan(account_id, report.plan)

    def _is_new_plan(self, account: Account, report: UsageReport) -> bool:
        """A downgrade counts when the same login shows it twice in a row."""
        seen_before = self._downgrades.pop(account.account_id, None)
        if not report.plan or report.plan == account.plan:
            return False
        if is_downgrade(account.plan, report.plan) and seen_before != report.generation:
            self._downgrades[account.account_id] = report.generation
            return False
        return True

    async def _change_plan(self, account_id: AccountId, plan: str) -> None:
        async with self._pool.changing:
            member = self._pool.get(account_id)
            if member is None:
                return
            now = self._clock.now()
            async with self._store.begin(writing=True) as unit:
                await unit.accounts.update(replace(member.account, plan=plan, updated_at=now))
            log.info("plan changed", account_id=account_id, was=member.account.plan, plan=plan)
            self._pool.note_plan(account_id, plan, now=now)

    async def _take_models(self, ticket: Ticket, models: Sequence[tuple[str, bytes]], seen_at: datetime) -> None:
        if not models:
            log.warning("empty model list ignored", plan=ticket.task.subject, account_id=ticket.account_id)
            return
        async with self._store.begin(writing=True) as unit:
            await unit.catalogs.put(ticket.task.subject, models, seen_at=seen_at)
        await self._feed.load_catalog(self._store)

    async def _take_failure(self, ticket: Ticket, failure: TicketFailure, observed_at: datetime) -> None:
        log.warning(
            "refresh failed",
            kind=ticket.task.kind.value,
            account_id=ticket.account_id,
            code=failure.code,
            status=failure.status,
            message=failure.message,
        )
        evidence = evidence_of(failure, observed_at=observed_at)
        if evidence is not None:
            await self._learn(ticket.account_id, [evidence])

    async def _take_probe(self, ticket: Ticket, result: TicketResult, observed_at: datetime) -> None:
        match result:
            case ProbeReport():
                report = result
            case TicketFailure():
                report = probing.failed(result)
            case _:
                raise InvalidReportError("result: a probe ticket ends with probe or failure.")
        account_id = ticket.account_id
        outcome = probing.outcome_of(report)
        log.info("account probed", account_id=account_id, outcome=outcome.value, status=report.status, code=report.code)
        await self._learn(account_id, list(probing.evidence_of(report, ended_at=observed_at)))
        now = self._clock.now()
        await self._tickets.end(ticket, next_due_at=now)
        self._probes.end(account_id, report)
        self._feed.refresh_pool()
        if outcome is probing.ProbeOutcome.SERVED:
            await self._tickets.hurry(Task(TicketKind.USAGE, account_id), now=now)  # how full it is shows soon

    async def _take_alert(self, ticket: Ticket, result: TicketResult) -> None:
        match result:
            case AlertReport(status=status):
                sent = Sent(status)
            case TicketFailure():
                sent = Sent(result.status, result.message or result.code, is_final=not result.is_transient)
            case _:
                raise InvalidReportError("result: an alert ticket ends with alert or failure.")
        next_try_at = await self._deliveries.end(ticket.task.subject, sent)
        await self._tickets.end(ticket, next_due_at=next_try_at or self._clock.now())

    async def _learn(self, account_id: AccountId, evidence: Sequence[Evidence]) -> None:
        known = [(account_id, one) for one in evidence if self._pool.observe(account_id, one)]
        if known:
            await self._ledger.write([], [], known)


def is_about(report: UsageReport, account: Account) -> bool:
    """Whether usage is that of the account's workspace, as far as it says."""
    return report.workspace_id in ("", account.identity.workspace_id, account.chatgpt_account_id)


def evidence_in(report: UsageReport, observed_at: datetime) -> Iterator[Evidence]:
    """All that a usage ticket found."""
    for window in report.windows:
        yield UsageSeen(window, observed_at, Source.POLL)
    for quota in report.additional_quotas:
        yield QuotaSeen(quota.limit_name or quota.metered_feature, quota.windows, observed_at, Source.POLL)
    yield CreditsSeen(report.has_credits, report.credits_unlimited, report.credits_balance, observed_at)
