"""RefreshService: the worker's tickets."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeAlias

import grpc.aio

from codex_lb.api.worker.v1 import refresh_pb2 as pb
from codex_lb.api.worker.v1 import refresh_pb2_grpc
from codex_lb.control.domain.alert_form import Post
from codex_lb.control.domain.ids import TicketId, WorkerId
from codex_lb.control.domain.probe import ProbeReport
from codex_lb.control.domain.refresh import (
    TICKET_TTL_S,
    AdditionalQuota,
    RotationReport,
    TicketFailure,
    TicketKind,
    UsageReport,
)
from codex_lb.control.domain.window import Window, WindowKind, true_kind
from codex_lb.control.errors import InvalidReportError
from codex_lb.control.rpcs.failures import told_as_failures
from codex_lb.control.rpcs.instants import instant, read_seconds, wire_instant, wire_seconds
from codex_lb.control.usecases.claim_tickets import ClaimedTicket, ClaimTickets
from codex_lb.control.usecases.report_ticket import AlertReport, ModelsReport, ReportTicket, TicketResult

TICKETS_MAX = 1000  # per claim, whatever a worker asks for
LABEL_CHARS_MAX = 200
QUOTAS_MAX = 50  # upstream has a handful

KIND = {
    pb.TICKET_KIND_USAGE: TicketKind.USAGE,
    pb.TICKET_KIND_MODELS: TicketKind.MODELS,
    pb.TICKET_KIND_ROTATION: TicketKind.ROTATION,
    pb.TICKET_KIND_PROBE: TicketKind.PROBE,
    pb.TICKET_KIND_ALERT: TicketKind.ALERT,
}
KIND_WIRE = {kind: number for number, kind in KIND.items()}

ClaimContext: TypeAlias = "grpc.aio.ServicerContext[pb.ClaimTicketsRequest, pb.ClaimTicketsResponse]"
ReportContext: TypeAlias = "grpc.aio.ServicerContext[pb.ReportTicketRequest, pb.ReportTicketResponse]"


class RefreshRpc(refresh_pb2_grpc.RefreshServiceServicer):
    """The face of claim and report."""

    def __init__(self, claim: ClaimTickets, report: ReportTicket) -> None:
        self._claim = claim
        self._report = report

    async def ClaimTickets(
        self,
        request: pb.ClaimTicketsRequest,
        context: ClaimContext,  # noqa: ARG002
    ) -> pb.ClaimTicketsResponse:
        """Tickets of the kinds that the worker and this control both know."""
        kinds = frozenset(KIND[kind] for kind in request.kinds if kind in KIND)
        with told_as_failures():
            claim = await self._claim(
                WorkerId(request.worker_id), kinds, tickets_max=min(request.tickets_max, TICKETS_MAX)
            )
        return pb.ClaimTicketsResponse(
            tickets=[ticket(one) for one in claim.tickets], next_claim_in=wire_seconds(claim.next_claim_in_s)
        )

    async def ReportTicket(
        self,
        request: pb.ReportTicketRequest,
        context: ReportContext,  # noqa: ARG002
    ) -> pb.ReportTicketResponse:
        """Answers once the report is committed."""
        with told_as_failures():
            await self._report(
                TicketId(request.ticket_id),
                epoch=request.epoch,
                age_s=read_seconds(request.age),
                result=result(request),
            )
        return pb.ReportTicketResponse()


def ticket(claimed: ClaimedTicket) -> pb.Ticket:
    """A ticket with its login."""
    held = claimed.ticket
    return pb.Ticket(
        ticket_id=held.ticket_id,
        epoch=held.epoch,
        kind=KIND_WIRE[held.task.kind],
        account_id=held.account_id,
        expires_at=wire_instant(held.expires_at),
        ttl=wire_seconds(claimed.ttl_s),
        start_after=wire_seconds(claimed.start_after_s),
        credential=pb.TicketCredential(
            access_token=claimed.credential.access_token,
            refresh_token=claimed.credential.refresh_token,
            chatgpt_account_id=claimed.credential.chatgpt_account_id,
            generation=claimed.credential.generation,
        ),
        model=claimed.model,
        post=alert_post(claimed.post) if claimed.post is not None else None,
    )


def alert_post(post: Post) -> pb.AlertPost:
    """What tells somebody."""
    return pb.AlertPost(url=post.url, headers=post.headers, body=post.body)


def result(request: pb.ReportTicketRequest) -> TicketResult:
    """What a ticket found. Raises InvalidReportError."""
    match request.WhichOneof("result"):
        case "usage":
            return usage(request.usage)
        case "models":
            return ModelsReport(tuple((m.slug, m.entry_json) for m in request.models.models if m.slug))
        case "failure":
            return failed(request.failure)
        case "rotation":
            return rotation(request.rotation)
        case "probe":
            return probe(request.probe)
        case "alert":
            return AlertReport(request.alert.status)
        case _:
            raise InvalidReportError("result: one of usage, models, rotation, probe, alert and failure must be set.")


def rotation(message: pb.RotationResult) -> RotationReport:
    """A new pair. Raises InvalidReportError."""
    if not message.access_token or not message.refresh_token:
        raise InvalidReportError("rotation: access_token and refresh_token must be set.")
    return RotationReport(message.access_token, message.refresh_token, message.id_token)


def probe(message: pb.ProbeResult) -> ProbeReport:
    """How a probe ended. Raises InvalidReportError."""
    return ProbeReport(
        is_served=message.served,
        status=message.status,
        code=message.code[:LABEL_CHARS_MAX],
        message=message.message[:LABEL_CHARS_MAX],
        resets_at=instant(message, "resets_at"),
        took_s=min(max(0.0, read_seconds(message.took)), TICKET_TTL_S),
        generation=message.credential_generation,
    )


def usage(message: pb.UsageResult) -> UsageReport:
    """An account's usage."""
    return UsageReport(
        plan=message.plan.lower()[:LABEL_CHARS_MAX],
        windows=windows(message.windows),
        additional_quotas=tuple(
            AdditionalQuota(q.limit_name[:LABEL_CHARS_MAX], q.metered_feature[:LABEL_CHARS_MAX], windows(q.windows))
            for q in message.additional_quotas[:QUOTAS_MAX]
        ),
        has_credits=message.has_credits,
        credits_unlimited=message.credits_unlimited,
        credits_balance=message.credits_balance[:LABEL_CHARS_MAX],
        workspace_id=message.workspace_id,
        reset_credits_available=message.reset_credits_available,
        generation=message.credential_generation,
    )


def windows(messages: Iterable[pb.UsageWindow]) -> tuple[Window, ...]:
    """Windows of kinds that this version knows."""
    known = (message for message in messages if message.window in WindowKind.__members__.values())
    return tuple(window(message) for message in known)


def window(message: pb.UsageWindow) -> Window:
    """One window. Raises InvalidReportError."""
    length_s = read_seconds(message.length)
    if not math.isfinite(message.used_percent):
        raise InvalidReportError("windows.used_percent is not a number.")
    return Window(
        kind=true_kind(WindowKind(message.window), length_s),
        used_percent=min(100.0, max(0.0, message.used_percent)),
        length_s=length_s,
        resets_at=instant(message, "resets_at"),
    )


def failed(message: pb.TicketFailure) -> TicketFailure:
    """Why there is no result."""
    return TicketFailure(
        code=message.code[:LABEL_CHARS_MAX],
        status=message.status,
        message=message.message[:LABEL_CHARS_MAX],
        is_transient=message.is_transient,
        generation=message.credential_generation,
    )
