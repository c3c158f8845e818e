"""Control as the worker sees it: hands out the tickets it is given, keeps what is reported. A real gRPC server."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio

from codex_lb.api.errors.v1.reasons_pb2 import ErrorReason
from codex_lb.api.worker.v1 import refresh_pb2 as wire
from codex_lb.api.worker.v1.refresh_pb2_grpc import RefreshServiceServicer, add_RefreshServiceServicer_to_server
from codex_lb.kit.rpc_errors import RpcFailure
from codex_lb.kit.rpc_server import open_rpc_server

WITHIN_S = 10.0  # how long a test waits for something that should happen at once


class ControlStandIn(RefreshServiceServicer):
    """Every ticket is handed out once, to whoever asks for its kind."""

    def __init__(self) -> None:
        self.due: deque[wire.Ticket] = deque()
        self.claims: list[wire.ClaimTicketsRequest] = []
        self.reports: list[wire.ReportTicketRequest] = []
        self.refuse_claims: deque[ErrorReason.ValueType] = deque()
        self.refuse_reports: deque[ErrorReason.ValueType] = deque()
        self.next_claim_in_s = 0.0
        self._changed = anyio.Event()

    async def ClaimTickets(  # noqa: N802 - gRPC's name
        self, request: wire.ClaimTicketsRequest, _context: Any
    ) -> wire.ClaimTicketsResponse:
        self.claims.append(request)
        self._tell()
        if self.refuse_claims:
            raise RpcFailure(self.refuse_claims.popleft(), "as scripted")
        due = [ticket for ticket in self.due if ticket.kind in request.kinds or ticket.kind not in KNOWN]
        tickets = due[: request.tickets_max]
        for ticket in tickets:
            self.due.remove(ticket)
        response = wire.ClaimTicketsResponse(tickets=tickets)
        response.next_claim_in.FromMicroseconds(round(self.next_claim_in_s * 1_000_000))
        return response

    async def ReportTicket(  # noqa: N802 - gRPC's name
        self, request: wire.ReportTicketRequest, _context: Any
    ) -> wire.ReportTicketResponse:
        self.reports.append(request)
        self._tell()
        if self.refuse_reports:
            raise RpcFailure(self.refuse_reports.popleft(), "as scripted")
        return wire.ReportTicketResponse()

    def hand_out(self, kind: wire.TicketKind.ValueType, **given: Any) -> None:
        """A ticket that is due from now on."""
        self.due.append(a_ticket(kind, **given))

    async def report_of(self, ticket_id: str) -> wire.ReportTicketRequest:
        """The first report about a ticket, as soon as it has come."""
        await self.wait_for(lambda: any(report.ticket_id == ticket_id for report in self.reports))
        return next(report for report in self.reports if report.ticket_id == ticket_id)

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        """Returns once it holds; looks again whenever the worker has called."""
        with anyio.fail_after(WITHIN_S):
            while not holds():
                await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


KNOWN = (
    wire.TICKET_KIND_USAGE,
    wire.TICKET_KIND_MODELS,
    wire.TICKET_KIND_ROTATION,
    wire.TICKET_KIND_PROBE,
    wire.TICKET_KIND_ALERT,
)


def a_ticket(
    kind: wire.TicketKind.ValueType,
    *,
    ticket_id: str = "t1",
    access_token: str = "",
    refresh_token: str = "",
    chatgpt_account_id: str = "",
    ttl_s: float = 60.0,
    start_after_s: float = 0.0,
    model: str = "",
) -> wire.Ticket:
    """A ticket as control writes it."""
    ticket = wire.Ticket(
        ticket_id=ticket_id,
        epoch=7,
        kind=kind,
        account_id="acc_1",
        model=model,
        credential=wire.TicketCredential(
            access_token=access_token,
            refresh_token=refresh_token,
            chatgpt_account_id=chatgpt_account_id,
            generation=3,
        ),
    )
    ticket.ttl.FromMicroseconds(round(ttl_s * 1_000_000))
    ticket.start_after.FromMicroseconds(round(start_after_s * 1_000_000))
    return ticket


@asynccontextmanager
async def serve(control: ControlStandIn, listen: str, *, service_token: str | None = None) -> AsyncIterator[str]:
    """Where to dial it, for as long as the `with` lasts."""
    register = partial(add_RefreshServiceServicer_to_server, control)
    async with open_rpc_server([register], [listen], tls=None, service_token=service_token, stop_within_s=0) as server:
        yield server.targets[0]
