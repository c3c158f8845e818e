"""AccountService: the pool's accounts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias

import grpc.aio

from codex_lb.api.admin.v1 import account_service_pb2 as pb
from codex_lb.api.admin.v1 import account_service_pb2_grpc
from codex_lb.control.admin.permissions import ruled
from codex_lb.control.domain.account import Account, AccountStatus, RoutingPolicy
from codex_lb.control.domain.evidence import CreditsSeen, QuotaSeen
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.probe import ProbeOutcome, outcome_of, summary_of
from codex_lb.control.domain.window import Window
from codex_lb.control.errors import InvalidResourceNameError, InvalidUpdateError
from codex_lb.control.rpcs.instants import wire_instant, wire_seconds
from codex_lb.control.usecases.delete_account import DeleteAccount
from codex_lb.control.usecases.import_accounts import AuthFile, ImportAccounts, ImportAction, ImportRow
from codex_lb.control.usecases.operate_account import OperateAccount
from codex_lb.control.usecases.probe_now import Probed, ProbeNow
from codex_lb.control.usecases.refresh_now import RefreshNow
from codex_lb.control.usecases.update_account import UpdateAccount
from codex_lb.control.usecases.view_accounts import AccountView, ViewAccounts

COLLECTION = "accounts/"
SERVICE = pb.DESCRIPTOR.services_by_name["AccountService"]

STATUS = {
    AccountStatus.ACTIVE: pb.ACCOUNT_STATUS_ACTIVE,
    AccountStatus.RATE_LIMITED: pb.ACCOUNT_STATUS_RATE_LIMITED,
    AccountStatus.QUOTA_EXCEEDED: pb.ACCOUNT_STATUS_QUOTA_EXCEEDED,
    AccountStatus.PAUSED: pb.ACCOUNT_STATUS_PAUSED,
    AccountStatus.REAUTH_REQUIRED: pb.ACCOUNT_STATUS_REAUTH_REQUIRED,
    AccountStatus.DEACTIVATED: pb.ACCOUNT_STATUS_DEACTIVATED,
}
ROUTING_POLICY = {
    pb.ROUTING_POLICY_UNSPECIFIED: RoutingPolicy.NORMAL,
    pb.ROUTING_POLICY_BURN_FIRST: RoutingPolicy.BURN_FIRST,
    pb.ROUTING_POLICY_NORMAL: RoutingPolicy.NORMAL,
    pb.ROUTING_POLICY_PRESERVE: RoutingPolicy.PRESERVE,
}
ROUTING_POLICY_WIRE = {policy: number for number, policy in ROUTING_POLICY.items()}
PROBE_OUTCOME = {
    ProbeOutcome.SERVED: pb.PROBE_OUTCOME_SERVED,
    ProbeOutcome.REFUSED: pb.PROBE_OUTCOME_REFUSED,
    ProbeOutcome.LOGIN_REJECTED: pb.PROBE_OUTCOME_LOGIN_REJECTED,
    ProbeOutcome.CLOSED: pb.PROBE_OUTCOME_CLOSED,
    ProbeOutcome.UNDECIDED: pb.PROBE_OUTCOME_UNDECIDED,
}
MODEL_CHARS_MAX = 100  # upstream's longest has twenty
ALIAS_CHARS_MAX = 100
PRIORITY_MAX = 100  # either way
ACTION = {
    ImportAction.CREATE: pb.IMPORT_ACTION_CREATE,
    ImportAction.UPDATE: pb.IMPORT_ACTION_UPDATE,
    ImportAction.REJECT: pb.IMPORT_ACTION_REJECT,
}

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"


class AccountRpc(account_service_pb2_grpc.AccountServiceServicer):
    """The face of what is done to accounts."""

    def __init__(
        self,
        view: ViewAccounts,
        operate: OperateAccount,
        update: UpdateAccount,
        refresh: RefreshNow,
        probe: ProbeNow,
        import_: ImportAccounts,
        delete: DeleteAccount,
    ) -> None:
        self._view = view
        self._operate = operate
        self._update = update
        self._refresh = refresh
        self._probe = probe
        self._import = import_
        self._delete = delete

    @ruled(SERVICE)
    async def ImportAccounts(self, request: pb.ImportAccountsRequest, _: Context) -> pb.ImportAccountsResponse:
        """One row per file."""
        files = [
            AuthFile(file.display_name or f"file {position}", file.content)
            for position, file in enumerate(request.files, start=1)
        ]
        rows = await self._import(files, validate_only=request.validate_only)
        return pb.ImportAccountsResponse(rows=[self._row(row) for row in rows])

    @ruled(SERVICE)
    async def GetAccount(self, request: pb.GetAccountRequest, _: Context) -> pb.Account:
        """One account."""
        return account(self._view.one(account_id(request.name)))

    @ruled(SERVICE)
    async def ListAccounts(self, request: pb.ListAccountsRequest, _: Context) -> pb.ListAccountsResponse:
        """A page."""
        page = self._view.page(size=request.page_size, token=request.page_token)
        return pb.ListAccountsResponse(
            accounts=[account(view) for view in page.entries],
            next_page_token=page.next_page_token,
            total_size=page.total,
        )

    @ruled(SERVICE)
    async def PauseAccount(self, request: pb.PauseAccountRequest, _: Context) -> pb.Account:
        """The account, paused."""
        return account(self._view.view(await self._operate.pause(account_id(request.name))))

    @ruled(SERVICE)
    async def ResumeAccount(self, request: pb.ResumeAccountRequest, _: Context) -> pb.Account:
        """The account, where it stands without the pause."""
        return account(self._view.view(await self._operate.resume(account_id(request.name))))

    @ruled(SERVICE)
    async def ReactivateAccount(self, request: pb.ReactivateAccountRequest, _: Context) -> pb.Account:
        """The account, offered again."""
        return account(self._view.view(await self._operate.reactivate(account_id(request.name))))

    @ruled(SERVICE)
    async def UpdateAccount(self, request: pb.UpdateAccountRequest, _: Context) -> pb.Account:
        """The account, changed."""
        wanted = request.account
        member = await self._update(
            account_id(wanted.name),
            lambda known: updated(known, wanted, request.update_mask.paths),
            etag=wanted.etag,
        )
        return account(self._view.view(member))

    @ruled(SERVICE)
    async def RefreshAccount(self, request: pb.RefreshAccountRequest, _: Context) -> pb.Account:
        """The account as it stands; what the worker finds shows a moment later."""
        member = await self._refresh.account(account_id(request.name), rotate_tokens=request.rotate_tokens)
        return account(self._view.view(member))

    @ruled(SERVICE)
    async def ProbeAccount(self, request: pb.ProbeAccountRequest, _: Context) -> pb.ProbeAccountResponse:
        """What the probe showed, once it has."""
        return self._probed(await self._probe(account_id(request.name), model=request.model[:MODEL_CHARS_MAX]))

    @ruled(SERVICE)
    async def SyncModels(self, _request: pb.SyncModelsRequest, _: Context) -> pb.SyncModelsResponse:
        """The plans that will be listed."""
        return pb.SyncModelsResponse(plans=await self._refresh.models())

    @ruled(SERVICE)
    async def DeleteAccount(self, request: pb.DeleteAccountRequest, _: Context) -> pb.DeleteAccountResponse:
        """Nothing: it is gone."""
        await self._delete(account_id(request.name), with_history=request.delete_history)
        return pb.DeleteAccountResponse()

    def _row(self, row: ImportRow) -> pb.ImportRow:
        message = pb.ImportRow(display_name=row.display_name, action=ACTION[row.action], problem=row.problem)
        if row.member is not None:
            message.account.CopyFrom(account(self._view.view(row.member)))
        return message

    def _probed(self, probed: Probed) -> pb.ProbeAccountResponse:
        report = probed.report
        return pb.ProbeAccountResponse(
            account=account(self._view.view(probed.member)),
            status_before=STATUS[probed.status_before],
            outcome=PROBE_OUTCOME[outcome_of(report)],
            summary=summary_of(report),
            model=probed.model,
            http_status=report.status,
            code=report.code,
            took=wire_seconds(report.took_s),
        )


def account_id(name: str) -> AccountId:
    """The id in a resource name. Raises InvalidResourceNameError."""
    found = name.removeprefix(COLLECTION)
    if not name.startswith(COLLECTION) or not found or "/" in found:
        raise InvalidResourceNameError("name must have the form accounts/{account_id}.")
    return AccountId(found)


def updated(known: Account, wanted: pb.Account, paths: Iterable[str]) -> Account:
    """The account with the fields of these paths as wanted. Raises InvalidUpdateError."""
    for path in paths:
        match path:
            case "alias":
                known = replace(known, alias=alias(wanted.alias))
            case "routing_policy" if wanted.routing_policy in ROUTING_POLICY:
                known = replace(known, routing_policy=ROUTING_POLICY[wanted.routing_policy])
            case "priority" if abs(wanted.priority) <= PRIORITY_MAX:
                known = replace(known, priority=wanted.priority)
            case "stop_percent" if not wanted.HasField("stop_percent"):
                known = replace(known, stop_percent=None)
            case "stop_percent" if 0 < wanted.stop_percent <= 100:
                known = replace(known, stop_percent=wanted.stop_percent)
            case "priority" | "routing_policy" | "stop_percent":
                raise InvalidUpdateError(f"account.{path} is out of range.")
            case _:
                raise InvalidUpdateError(f"update_mask: {path[:ALIAS_CHARS_MAX]} is no field that can be changed.")
    return known


def alias(given: str) -> str:
    """An alias as it is kept. Raises InvalidUpdateError."""
    if len(given) > ALIAS_CHARS_MAX or not given.isprintable():
        raise InvalidUpdateError(f"account.alias must be at most {ALIAS_CHARS_MAX} printable characters.")
    return given.strip()


def account(view: AccountView) -> pb.Account:
    """An account; without a name when it does not exist yet."""
    known, standing = view.account, view.standing
    return pb.Account(
        name=f"{COLLECTION}{known.account_id}" if known.account_id else "",
        email=known.email,
        plan=known.plan,
        status=STATUS[standing.status],
        status_reason=standing.reason,
        status_until=wire_instant(standing.until),
        windows=[window(seen.window) for _, seen in sorted(view.usage.items())],
        workspace_id=known.identity.workspace_id,
        alias=known.alias,
        created_at=wire_instant(known.created_at) if known.account_id else None,
        usage_observed_at=wire_instant(max((seen.observed_at for seen in view.usage.values()), default=None)),
        access_token_expires_at=wire_instant(known.access_expires_at),
        streams_in_use=view.streams_in_use,
        etag=known.etag if known.account_id else "",
        routing_policy=ROUTING_POLICY_WIRE[known.routing_policy],
        priority=known.priority,
        stop_percent=known.stop_percent,
        refreshed_at=wire_instant(known.refreshed_at),
        quotas=[quota(seen) for seen in view.quotas],
        credits=credits_of(view.credits) if view.credits is not None else None,
    )


def quota(seen: QuotaSeen) -> pb.AccountQuota:
    """A quota beside the main one."""
    return pb.AccountQuota(
        limit_name=seen.limit_name,
        windows=[window(one) for one in seen.windows],
        observed_at=wire_instant(seen.observed_at),
    )


def credits_of(seen: CreditsSeen) -> pb.AccountCredits:
    """What may be spent beyond the plan."""
    return pb.AccountCredits(has_credits=seen.has_credits, unlimited=seen.is_unlimited, balance=seen.balance)


def window(seen: Window) -> pb.AccountWindow:
    """A window."""
    return pb.AccountWindow(
        window=seen.kind,
        used_percent=seen.used_percent,
        length=wire_seconds(seen.length_s),
        resets_at=wire_instant(seen.resets_at),
    )
