"""What people and their tools talk to: the admin API, and the verbs behind it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version

from codex_lb.control.admin.accounts import AccountRpc
from codex_lb.control.admin.affinities import AffinityRpc
from codex_lb.control.admin.alerts import AlertRpc
from codex_lb.control.admin.api_keys import ApiKeyRpc
from codex_lb.control.admin.decisions import DecisionRpc
from codex_lb.control.admin.faces import Face, faces_of
from codex_lb.control.admin.keys import KeyRpc
from codex_lb.control.admin.oauth import OAuthRpc
from codex_lb.control.admin.reports import ReportRpc
from codex_lb.control.admin.request_log import RequestLogRpc
from codex_lb.control.admin.settings import SettingsRpc
from codex_lb.control.admin.system import SystemRpc
from codex_lb.control.admin.web_access import WebAccessRpc
from codex_lb.control.assembly.gateway_side import GatewaySide
from codex_lb.control.assembly.state import State
from codex_lb.control.assembly.timing import Timing
from codex_lb.control.assembly.worker_side import WorkerSide
from codex_lb.control.oauth.auth_file import read_auth_file, write_auth_file
from codex_lb.control.oauth.callback import open_callback_port
from codex_lb.control.oauth.issuer import open_issuer
from codex_lb.control.oauth.keeper import FlowKeeper
from codex_lb.control.oauth.pkce import new_secret
from codex_lb.control.settings import ControlSettings
from codex_lb.control.store.database import database_url
from codex_lb.control.usecases.affinities import ManageAffinities
from codex_lb.control.usecases.alert_targets import AlertTargets
from codex_lb.control.usecases.delete_account import DeleteAccount
from codex_lb.control.usecases.drop_old_turns import DropOldTurns
from codex_lb.control.usecases.explain import Explain
from codex_lb.control.usecases.export_account import ExportAccount
from codex_lb.control.usecases.finish_flow import FinishFlow
from codex_lb.control.usecases.import_accounts import ImportAccounts
from codex_lb.control.usecases.keep_api_keys import KeepApiKeys
from codex_lb.control.usecases.operate_account import OperateAccount
from codex_lb.control.usecases.probe_now import ProbeNow
from codex_lb.control.usecases.raise_alerts import ViewAlerts, WatchAlerts
from codex_lb.control.usecases.refresh_now import RefreshNow
from codex_lb.control.usecases.rotate_keys import RotateKeys
from codex_lb.control.usecases.start_flow import StartFlow
from codex_lb.control.usecases.system_status import TellStatus
from codex_lb.control.usecases.tell_key_use import TellKeyUse
from codex_lb.control.usecases.update_account import UpdateAccount
from codex_lb.control.usecases.view_accounts import ViewAccounts
from codex_lb.control.usecases.view_api_keys import ViewApiKeys
from codex_lb.control.usecases.view_flows import ViewFlows
from codex_lb.control.usecases.view_log import ViewLog
from codex_lb.control.usecases.view_reports import ViewReports
from codex_lb.control.vault.key_ring import KeyRing
from codex_lb.kit.clock import Clock
from codex_lb.kit.ids import new_id


@dataclass(frozen=True, slots=True)
class AdminSide:
    """The faces of the admin API, and what goes on behind it all the time."""

    faces: Sequence[Face]
    flow_keeper: FlowKeeper
    rotate_keys: RotateKeys
    drop_old_turns: DropOldTurns
    watch_alerts: WatchAlerts
    keep_api_keys: KeepApiKeys


@asynccontextmanager
async def open_admin_side(
    state: State,
    gateway_side: GatewaySide,
    worker_side: WorkerSide,
    settings: ControlSettings,
    clock: Clock,
    timing: Timing,
    *,
    web_access: WebAccessRpc,
) -> AsyncIterator[AdminSide]:
    """Sign-ins need the issuer and a port for browsers to come back to, so this one is opened."""
    import_ = make_import(state, clock)
    keep_api_keys = make_keep_api_keys(state, clock)
    affinities = ManageAffinities(state.continuities, clock)
    accounts = make_accounts(state, worker_side, import_, affinities, clock)
    system = make_system(state, gateway_side, worker_side, settings, clock)
    targets = AlertTargets(state.store, state.vault, state.deliveries, clock, new_id=new_id)
    keys = KeyRing(settings.key_file, state.vault)
    rotate = RotateKeys(state.pool, state.store, state.vault, keys, clock, retired_after_s=timing.key_retired_after_s)
    async with open_sign_in(state, import_, settings, clock) as (oauth, flow_keeper):
        faces = faces_of([
            accounts,
            system,
            oauth,
            make_api_keys(state, keep_api_keys, clock),
            KeyRpc(rotate),
            SettingsRpc(state.book, state.store),
            AffinityRpc(affinities),
            RequestLogRpc(ViewLog(state.store)),
            AlertRpc(targets, ViewAlerts(state.store)),
            ReportRpc(ViewReports(state.store, clock)),
            make_decisions(state, clock),
            web_access,
        ])  # fmt: skip
        retention = make_retention(state, settings, clock)
        key_use = TellKeyUse(state.key_book, state.limits, clock)
        watch = WatchAlerts(state.pool, state.store, targets, clock, key_use=key_use)
        yield AdminSide(faces, flow_keeper, rotate, retention, watch, keep_api_keys)


def make_retention(state: State, settings: ControlSettings, clock: Clock) -> DropOldTurns:
    """What keeps the request log from growing for ever."""
    kept_days = settings.request_log_retention_days
    return DropOldTurns(state.store, clock, kept=timedelta(days=kept_days) if kept_days else None)


def make_import(state: State, clock: Clock) -> ImportAccounts:
    """How logins come in, from a file or from a sign-in."""
    return ImportAccounts(
        state.pool,
        state.store,
        state.vault,
        state.tickets,
        state.feed,
        clock,
        read_login=read_auth_file,
        new_account_id=partial(new_id, "acc"),
    )


def make_accounts(
    state: State, worker_side: WorkerSide, import_: ImportAccounts, affinities: ManageAffinities, clock: Clock
) -> AccountRpc:
    """The face of accounts."""
    pool, store, feed = state.pool, state.store, state.feed
    return AccountRpc(
        ViewAccounts(pool, state.leases, clock),
        OperateAccount(pool, store, feed, clock),
        UpdateAccount(pool, store, clock),
        RefreshNow(pool, state.tickets, worker_side.rotations, clock, periods=worker_side.periods),
        ProbeNow(pool, state.probes, clock),
        import_,
        DeleteAccount(pool, store, feed, affinities),
    )


def make_keep_api_keys(state: State, clock: Clock) -> KeepApiKeys:
    """How API keys are made and changed."""
    return KeepApiKeys(
        state.key_book,
        state.limits,
        state.store,
        clock,
        new_id=new_id,
        new_random_part=partial(secrets.token_urlsafe, 32),
    )


def make_api_keys(state: State, keep: KeepApiKeys, clock: Clock) -> ApiKeyRpc:
    """The face of API keys."""
    return ApiKeyRpc(ViewApiKeys(state.key_book, state.limits, state.leases, state.store, clock), keep)


def make_decisions(state: State, clock: Clock) -> DecisionRpc:
    """The face of explanations."""
    return DecisionRpc(Explain(state.store, state.pool, state.book, clock), state.book)


def make_system(
    state: State, gateway_side: GatewaySide, worker_side: WorkerSide, settings: ControlSettings, clock: Clock
) -> SystemRpc:
    """The face of the whole."""
    tell = TellStatus(
        state.pool,
        state.leases,
        state.ledger,
        state.gateways,
        gateway_side.settle,
        worker_side.claim,
        clock,
        version=version("codex-lb"),
        database=database_url(settings.database).get_backend_name(),
    )
    return SystemRpc(tell)


@asynccontextmanager
async def open_sign_in(
    state: State, import_: ImportAccounts, settings: ControlSettings, clock: Clock
) -> AsyncIterator[tuple[OAuthRpc, FlowKeeper]]:
    """The face of sign-ins, and what keeps them going."""
    pool, store, vault = state.pool, state.store, state.vault
    address = (settings.oauth_callback_host, settings.oauth_callback_port)
    async with open_issuer(
        clock,
        base_url=settings.auth_base_url,
        client_id=settings.oauth_client_id,
        scope=settings.oauth_scope,
        redirect_uri=settings.oauth_redirect_uri,
        timeout_s=settings.oauth_timeout_seconds,
    ) as issuer:
        # A device's answer is a poll and an exchange.
        finish = FinishFlow(store, vault, issuer, import_, clock, exchange_max_s=2 * settings.oauth_timeout_seconds)
        async with open_callback_port(finish, address, redirect_uri=settings.oauth_redirect_uri) as port:
            start = StartFlow(
                pool, store, vault, issuer, port, clock, new_flow_id=partial(new_id, "flow"), new_secret=new_secret
            )
            export = ExportAccount(pool, vault, write_login=write_auth_file)
            keeper = FlowKeeper(store, finish, port, clock, has_begun=start.has_begun)
            yield OAuthRpc(start, ViewFlows(store, clock), finish, export), keeper
