"""RequestLogService: one line per turn, with its attempts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import grpc.aio

from codex_lb.api.admin.v1 import request_log_service_pb2 as pb
from codex_lb.api.admin.v1 import request_log_service_pb2_grpc
from codex_lb.api.control.v1 import leases_pb2
from codex_lb.control.admin.accounts import COLLECTION as ACCOUNTS
from codex_lb.control.admin.accounts import account_id
from codex_lb.control.admin.permissions import ruled
from codex_lb.control.domain.ids import TurnId
from codex_lb.control.domain.lease import Fault, Settlement, Timings, TurnReport, Usage
from codex_lb.control.domain.phases import Phases
from codex_lb.control.domain.report import Asked, Only
from codex_lb.control.errors import InvalidResourceNameError
from codex_lb.control.rpcs.instants import instant, wire_instant, wire_seconds
from codex_lb.control.rpcs.lease_wire import BLAME, OUTCOME, WORK_WIRE, wire_decision
from codex_lb.control.usecases.view_log import Details, ViewLog

SERVICE = pb.DESCRIPTOR.services_by_name["RequestLogService"]
COLLECTION = "requests/"
OUTCOME_WIRE = {outcome: number for number, outcome in OUTCOME.items()}
BLAME_WIRE = {blame: number for number, blame in BLAME.items()}

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"


class RequestLogRpc(request_log_service_pb2_grpc.RequestLogServiceServicer):
    """The face of the request log."""

    def __init__(self, view: ViewLog) -> None:
        self._view = view

    @ruled(SERVICE)
    async def ListRequests(self, request: pb.ListRequestsRequest, _: Context) -> pb.ListRequestsResponse:
        """A page."""
        page = await self._view.page(asked(request), size=request.page_size, token=request.page_token)
        return pb.ListRequestsResponse(requests=map(line, page.lines), next_page_token=page.next_page_token)

    @ruled(SERVICE)
    async def GetRequest(self, request: pb.GetRequestRequest, _: Context) -> pb.RequestDetails:
        """One line with all that is behind it."""
        found = request.name.removeprefix(COLLECTION)
        if not request.name.startswith(COLLECTION) or not found:
            raise InvalidResourceNameError("name must have the form requests/{turn_id}.")
        return details(await self._view.one(TurnId(found)))


def asked(request: pb.ListRequestsRequest) -> Asked:
    """Which lines are meant."""
    return Asked(
        only=only(request.accounts, request.api_key_ids, request.models),
        outcomes=tuple(OUTCOME[number] for number in request.outcomes if number in OUTCOME),
        since=instant(request, "since"),
        until=instant(request, "until"),
        session_id=request.session_id,
        text=request.text,
    )


def only(accounts: Iterable[str], api_key_ids: Iterable[str], models: Iterable[str]) -> Only:
    """Whose turns are meant. Raises InvalidResourceNameError."""
    return Only(tuple(map(account_id, accounts)), tuple(api_key_ids), tuple(models))


def details(found: Details) -> pb.RequestDetails:
    """A line with all that is behind it."""
    return pb.RequestDetails(
        request=line(found.line), attempts=map(attempt, found.attempts), phases=phases(found.phases)
    )


def line(report: TurnReport) -> pb.Request:
    """A line."""
    return pb.Request(
        name=f"{COLLECTION}{report.turn_id}",
        started_at=wire_instant(report.started_at),
        outcome=OUTCOME_WIRE[report.outcome],
        fault=fault(report.fault),
        account=account_name(report.account_id),
        api_key_id=report.api_key_id,
        attempts=report.attempts,
        work=WORK_WIRE[report.work],
        route=report.route,
        transport=report.transport,
        requested_model=report.requested_model,
        model=report.model,
        reasoning_effort=report.reasoning_effort,
        service_tier=report.service_tier,
        actual_service_tier=report.actual_service_tier,
        usage=usage(report.usage),
        timings=timings(report.timings),
        cost_micro_usd=report.cost_micro_usd,
        cost_source=report.cost_source,
        status=report.status,
        user_agent=report.user_agent,
        client_ip=report.client_ip,
        response_id=report.response_id,
        session_id=report.session_id,
        request_bytes=report.request_bytes,
        response_bytes=report.response_bytes,
    )


def attempt(settled: Settlement) -> pb.RequestAttempt:
    """A settled lease."""
    lease = settled.lease
    return pb.RequestAttempt(
        lease_id=lease.lease_id,
        attempt=lease.attempt,
        account=account_name(lease.account_id),
        outcome=OUTCOME_WIRE[settled.outcome],
        fault=fault(settled.fault),
        usage=usage(settled.usage),
        timings=timings(settled.timings),
        decision=wire_decision(lease.decision),
        calls=settled.calls,
        service_tier=settled.service_tier,
        upstream_transport=settled.upstream_transport,
        granted_at=wire_instant(lease.granted_at),
        ended_at=wire_instant(settled.ended_at),
        cost_micro_usd=settled.cost_micro_usd,
        cost_source=settled.cost_source,
    )


def phases(parts: Phases) -> pb.RequestPhases:
    """Where the time went."""
    return pb.RequestPhases(
        queue=wire_seconds(parts.queue_s),
        lease=wire_seconds(parts.lease_s),
        connect=wire_seconds(parts.connect_s),
        first_byte=wire_seconds(parts.first_byte_s),
        first_output=wire_seconds(parts.first_output_s),
        answer=wire_seconds(parts.answer_s),
        total=wire_seconds(parts.total_s),
    )


def account_name(found: str) -> str:
    """A resource name; nothing for no account."""
    return f"{ACCOUNTS}{found}" if found else ""


def fault(value: Fault | None) -> leases_pb2.Fault | None:
    """A classified failure."""
    if value is None:
        return None
    return leases_pb2.Fault(code=value.code, blame=BLAME_WIRE[value.blame], status=value.status, message=value.message)


def usage(value: Usage | None) -> leases_pb2.Usage | None:
    """Tokens."""
    if value is None:
        return None
    return leases_pb2.Usage(
        input_tokens=value.input_tokens,
        cached_input_tokens=value.cached_input_tokens,
        output_tokens=value.output_tokens,
        reasoning_tokens=value.reasoning_tokens,
        total_tokens=value.total_tokens,
    )


def timings(value: Timings) -> leases_pb2.Timings:
    """Seconds since the request was read."""
    return leases_pb2.Timings(
        leased=wire_seconds(value.leased_s),
        dispatched=wire_seconds(value.dispatched_s),
        first_byte=wire_seconds(value.first_byte_s),
        first_output=wire_seconds(value.first_output_s),
        total=wire_seconds(value.total_s),
    )
