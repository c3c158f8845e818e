"""Control's RefreshService as the worker sees it. Protobuf stops here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from codex_lb.api.errors.v1.reasons_pb2 import ErrorReason
from codex_lb.api.worker.v1 import refresh_pb2 as wire
from codex_lb.api.worker.v1.refresh_pb2_grpc import RefreshServiceStub
from codex_lb.kit.clock import Clock
from codex_lb.kit.rpc_errors import RpcFailure, from_rpc_error
from codex_lb.usage_worker.work import (
    AdditionalQuota,
    Credential,
    Failure,
    Found,
    ModelsFound,
    Post,
    Probed,
    Ticket,
    TicketKind,
    TokensRotated,
    Told,
    UsageFound,
    Window,
)

CALL_WITHIN_S = 5.0  # control answers in milliseconds; while it restarts, the loop asks again

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class ControlAwayError(Exception):
    """Control could not be reached or could not do it now; asking again may go better."""


class ReportRefusedError(Exception):
    """Control will not take this report, now or later. The text says why."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim yielded, and when control wants to be asked again."""

    tickets: tuple[Ticket, ...]
    next_claim_in_s: float


class Tickets:
    """Claims tickets for one worker and reports what was found."""

    def __init__(self, channel: grpc.aio.Channel, clock: Clock, *, worker_id: str) -> None:
        self._stub = RefreshServiceStub(channel)
        self._clock = clock
        self._worker_id = worker_id

    async def claim(self, kinds: Collection[TicketKind], *, tickets_max: int) -> Claim:
        """Takes what is due, at most so many. Raises ControlAwayError."""
        asked_at = self._clock.monotonic()
        request = wire.ClaimTicketsRequest(
            worker_id=self._worker_id, kinds=[KIND_TO_WIRE[kind] for kind in kinds], tickets_max=tickets_max
        )
        try:
            response = await self._stub.ClaimTickets(request, timeout=CALL_WITHIN_S)
        except grpc.aio.AioRpcError as error:
            raise ControlAwayError(_said(from_rpc_error(error))) from error
        # The time to live counts from the asking: handed out later, a ticket lapses for us before it does for control.
        tickets = tuple(_known(response.tickets, asked_at=asked_at, now=self._clock.monotonic()))
        return Claim(tickets, response.next_claim_in.ToMicroseconds() / 1_000_000)

    async def report(self, ticket: Ticket, found: Found) -> None:
        """Ends a ticket; returns when control has committed it. Raises ControlAwayError or ReportRefusedError."""
        try:
            await self._stub.ReportTicket(self._report(ticket, found), timeout=CALL_WITHIN_S)
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error)
            if _is_final(failure):
                raise ReportRefusedError(_said(failure)) from error
            raise ControlAwayError(_said(failure)) from error

    def _report(self, ticket: Ticket, found: Found) -> wire.ReportTicketRequest:
        observed_at = Timestamp()
        observed_at.FromDatetime(found.observed_at)
        request = wire.ReportTicketRequest(
            worker_id=self._worker_id,
            ticket_id=ticket.ticket_id,
            epoch=ticket.epoch,
            observed_at=observed_at,
            age=_duration(max(0.0, self._clock.monotonic() - found.obtained_at)),
        )
        generation = ticket.credential.generation
        match found.result:
            case UsageFound() as usage:
                request.usage.CopyFrom(_usage(usage, generation))
            case ModelsFound(models=models):
                listed = [wire.ListedModel(slug=model.slug, entry_json=model.entry_json) for model in models]
                request.models.CopyFrom(wire.ModelsResult(models=listed))
            case TokensRotated() as pair:
                request.rotation.CopyFrom(
                    wire.RotationResult(
                        access_token=pair.access_token, refresh_token=pair.refresh_token, id_token=pair.id_token
                    )
                )
            case Probed() as probed:
                request.probe.CopyFrom(_probed(probed, generation))
            case Told(status=status):
                request.alert.CopyFrom(wire.AlertResult(status=status))
            case Failure() as failure:
                request.failure.CopyFrom(_failure(failure, generation))
            case _:
                assert_never(found.result)
        return request


KIND_TO_WIRE = {
    TicketKind.USAGE: wire.TICKET_KIND_USAGE,
    TicketKind.MODELS: wire.TICKET_KIND_MODELS,
    TicketKind.ROTATION: wire.TICKET_KIND_ROTATION,
    TicketKind.PROBE: wire.TICKET_KIND_PROBE,
    TicketKind.ALERT: wire.TICKET_KIND_ALERT,
}
KIND_FROM_WIRE = {number: kind for kind, number in KIND_TO_WIRE.items()}

# Saying it again would be answered alike. All other failures may pass while the ticket lives.
FINAL_REASONS = frozenset(
    {
        ErrorReason.ERROR_REASON_STALE_EPOCH,
        ErrorReason.ERROR_REASON_ACCOUNT_NOT_FOUND,
        ErrorReason.ERROR_REASON_INVALID_ARGUMENT,
        ErrorReason.ERROR_REASON_PROTOCOL_MISMATCH,
    }
)
FINAL_STATUSES = frozenset(
    {"INVALID_ARGUMENT", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED"}
)  # gRPC's own: larger than it takes


def _is_final(failure: RpcFailure) -> bool:
    return failure.reason in FINAL_REASONS or failure.metadata.get("grpc_status") in FINAL_STATUSES


def _said(failure: RpcFailure) -> str:
    reason = ErrorReason.Name(failure.reason).removeprefix("ERROR_REASON_")
    return f"{failure.metadata.get('grpc_status') or reason}: {failure.message}"


def _known(tickets: Sequence[wire.Ticket], *, asked_at: float, now: float) -> Iterator[Ticket]:
    """The tickets of a kind that we know; another one lapses, so that a worker that knows it can have it."""
    for ticket in tickets:
        kind = KIND_FROM_WIRE.get(ticket.kind)
        if kind is None:
            log.warning("ticket of an unknown kind is left to lapse", ticket_id=ticket.ticket_id, kind=ticket.kind)
            continue
        yield Ticket(
            ticket_id=ticket.ticket_id,
            epoch=ticket.epoch,
            kind=kind,
            account_id=ticket.account_id,
            credential=Credential(
                access_token=ticket.credential.access_token,
                refresh_token=ticket.credential.refresh_token,
                chatgpt_account_id=ticket.credential.chatgpt_account_id,
                generation=ticket.credential.generation,
            ),
            starts_at=now + ticket.start_after.ToMicroseconds() / 1_000_000,
            lapses_at=asked_at + ticket.ttl.ToMicroseconds() / 1_000_000,
            model=ticket.model,
            post=_post(ticket.post) if ticket.HasField("post") else None,
        )


def _post(post: wire.AlertPost) -> Post:
    return Post(post.url, dict(post.headers), post.body)


def _usage(usage: UsageFound, generation: int) -> wire.UsageResult:
    return wire.UsageResult(
        plan=usage.plan,
        windows=[_window(window) for window in usage.windows],
        additional_quotas=[_additional_quota(quota) for quota in usage.additional_quotas],
        has_credits=usage.has_credits,
        credits_unlimited=usage.credits_unlimited,
        credits_balance=usage.credits_balance,
        workspace_id=usage.workspace_id,
        reset_credits_available=usage.reset_credits_available,
        credential_generation=generation,
    )


def _additional_quota(quota: AdditionalQuota) -> wire.AdditionalQuota:
    return wire.AdditionalQuota(
        limit_name=quota.limit_name,
        metered_feature=quota.metered_feature,
        windows=[_window(window) for window in quota.windows],
    )


def _window(window: Window) -> wire.UsageWindow:
    message = wire.UsageWindow(
        window=window.kind.value, used_percent=window.used_percent, length=_duration(window.length_s)
    )
    if window.resets_at is not None:
        message.resets_at.FromDatetime(window.resets_at)
    return message


def _probed(probed: Probed, generation: int) -> wire.ProbeResult:
    message = wire.ProbeResult(
        served=probed.is_served,
        status=probed.status,
        code=probed.code,
        message=probed.message,
        took=_duration(probed.took_s),
        credential_generation=generation,
    )
    if probed.resets_at is not None:
        message.resets_at.FromDatetime(probed.resets_at)
    return message


def _failure(failure: Failure, generation: int) -> wire.TicketFailure:
    return wire.TicketFailure(
        code=failure.code,
        status=failure.status,
        message=failure.message,
        is_transient=failure.is_transient,
        credential_generation=generation,
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration
