"""OAuthService: signing accounts in, and taking a login out again."""

from __future__ import annotations

from typing import TypeAlias

import grpc.aio

from codex_lb.api.admin.v1 import oauth_service_pb2 as pb
from codex_lb.api.admin.v1 import oauth_service_pb2_grpc
from codex_lb.control.admin.accounts import COLLECTION as ACCOUNTS
from codex_lb.control.admin.accounts import account_id
from codex_lb.control.admin.permissions import ruled
from codex_lb.control.domain.enrolment import Flow, FlowMethod, FlowStage
from codex_lb.control.domain.ids import FlowId
from codex_lb.control.errors import InvalidResourceNameError
from codex_lb.control.rpcs.instants import wire_instant
from codex_lb.control.usecases.export_account import ExportAccount
from codex_lb.control.usecases.finish_flow import FinishFlow
from codex_lb.control.usecases.start_flow import StartFlow
from codex_lb.control.usecases.view_flows import ViewFlows

COLLECTION = "oauthFlows/"
SERVICE = pb.DESCRIPTOR.services_by_name["OAuthService"]

METHOD = {FlowMethod.BROWSER: pb.FLOW_METHOD_BROWSER, FlowMethod.DEVICE: pb.FLOW_METHOD_DEVICE}
STATE = {
    FlowStage.PENDING: pb.FLOW_STATE_PENDING,
    FlowStage.EXCHANGING: pb.FLOW_STATE_EXCHANGING,
    FlowStage.SUCCEEDED: pb.FLOW_STATE_SUCCEEDED,
    FlowStage.FAILED: pb.FLOW_STATE_FAILED,
    FlowStage.CANCELLED: pb.FLOW_STATE_CANCELLED,
    FlowStage.EXPIRED: pb.FLOW_STATE_EXPIRED,
}

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"


class OAuthRpc(oauth_service_pb2_grpc.OAuthServiceServicer):
    """The face of sign-ins."""

    def __init__(self, start: StartFlow, view: ViewFlows, finish: FinishFlow, export: ExportAccount) -> None:
        self._start = start
        self._view = view
        self._finish = finish
        self._export = export

    @ruled(SERVICE)
    async def StartFlow(self, request: pb.StartFlowRequest, _: Context) -> pb.StartFlowResponse:
        """A sign-in with all that a person needs."""
        method = FlowMethod.DEVICE if request.method == pb.FLOW_METHOD_DEVICE else FlowMethod.BROWSER
        started = await self._start(method, account_id(request.account) if request.account else None)
        return pb.StartFlowResponse(
            flow=self._flow(started.flow),
            authorization_url=started.authorization_url,
            callback_problem=started.callback_problem,
            verification_url=started.verification_url,
            user_code=started.user_code,
        )

    @ruled(SERVICE)
    async def GetFlow(self, request: pb.GetFlowRequest, _: Context) -> pb.Flow:
        """How it stands."""
        return self._flow(await self._view.one(flow_id(request.name)))

    @ruled(SERVICE)
    async def CompleteFlow(self, request: pb.CompleteFlowRequest, _: Context) -> pb.Flow:
        """How it stands after that address."""
        wanted = flow_id(request.name) if request.name else None
        return self._flow(await self._finish.by_pasted_url(wanted, request.callback_url))

    @ruled(SERVICE)
    async def CancelFlow(self, request: pb.CancelFlowRequest, _: Context) -> pb.Flow:
        """How it ended."""
        return self._flow(await self._view.cancel(flow_id(request.name)))

    @ruled(SERVICE)
    async def ExportAccount(self, request: pb.ExportAccountRequest, _: Context) -> pb.ExportAccountResponse:
        """The file."""
        return pb.ExportAccountResponse(file_name="auth.json", content=self._export(account_id(request.name)))

    def _flow(self, flow: Flow) -> pb.Flow:
        return pb.Flow(
            name=f"{COLLECTION}{flow.flow_id}",
            method=METHOD[flow.method],
            state=STATE[self._view.stage(flow)],
            problem=flow.problem,
            target_account=f"{ACCOUNTS}{flow.target}" if flow.target else "",
            expires_at=wire_instant(flow.expires_at),
            account=f"{ACCOUNTS}{flow.account_id}" if flow.account_id else "",
            account_created=flow.is_account_new,
        )


def flow_id(name: str) -> FlowId:
    """The id in a resource name. Raises InvalidResourceNameError."""
    found = name.removeprefix(COLLECTION)
    if not name.startswith(COLLECTION) or not found or "/" in found:
        raise InvalidResourceNameError("name must have the form oauthFlows/{flow_id}.")
    return FlowId(found)
