"""A connection to control's admin API: by the socket in the data folder, or over TCP with a token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from codex_lb.allinone.data_dir import socket_path
from codex_lb.allinone.failures import CommandError
from codex_lb.api.admin.v1 import account_service_pb2 as accounts_pb2
from codex_lb.api.admin.v1 import api_key_service_pb2 as api_keys_pb2
from codex_lb.api.admin.v1.account_service_pb2_grpc import AccountServiceStub
from codex_lb.api.admin.v1.affinity_service_pb2_grpc import AffinityServiceStub
from codex_lb.api.admin.v1.alert_service_pb2_grpc import AlertServiceStub
from codex_lb.api.admin.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from codex_lb.api.admin.v1.decision_service_pb2_grpc import DecisionServiceStub
from codex_lb.api.admin.v1.key_service_pb2_grpc import KeyServiceStub
from codex_lb.api.admin.v1.oauth_service_pb2_grpc import OAuthServiceStub
from codex_lb.api.admin.v1.report_service_pb2_grpc import ReportServiceStub
from codex_lb.api.admin.v1.request_log_service_pb2_grpc import RequestLogServiceStub
from codex_lb.api.admin.v1.settings_service_pb2_grpc import SettingsServiceStub
from codex_lb.api.admin.v1.system_service_pb2_grpc import SystemServiceStub
from codex_lb.api.admin.v1.web_access_service_pb2_grpc import WebAccessServiceStub
from codex_lb.api.errors.v1.reasons_pb2 import ErrorReason
from codex_lb.kit.rpc_channel import open_channel
from codex_lb.kit.rpc_errors import from_rpc_error

PAGE_SIZE = 1000  # the most that control gives
IMPORT_BYTES_MAX = 8 * 2**20  # of one request; half of what a message may have
PROBE_WITHIN_S = 60.0  # longer than control waits for the worker
IMPORT_WITHIN_S = 60.0  # hundreds of logins are sealed and stored in one transaction


class AdminError(CommandError):
    """Control refused, or could not be reached."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where control is, and what to say when it is not there."""

    target: str
    token: str | None
    tls_ca: Path | None
    when_away: str


def local(data_dir: Path) -> Address:
    """Control on this machine."""
    socket = socket_path(data_dir)
    return Address(
        f"unix:{socket}",
        None,
        None,
        f"control is not running: nobody listens on {socket}. Start it with `codex-lb`, or name its data folder with"
        " --data-dir, or its address with --server HOST:2456.",
    )


def remote(server: str, token: str | None, tls_ca: Path | None) -> Address:
    """Control on another machine, or without a socket."""
    return Address(
        server,
        token,
        tls_ca,
        f"control is not reachable at {server}. There it must run with CODEX_LB_CONTROL_LISTEN set to an address that"
        " other machines can reach" + (", and with the TLS certificate that --tls-ca is for." if tls_ca else "."),
    )


class Admin:
    """The admin API as commands use it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.accounts = AccountServiceStub(channel)
        self.system = SystemServiceStub(channel)
        self.sign_ins = OAuthServiceStub(channel)
        self.keys = KeyServiceStub(channel)
        self.request_log = RequestLogServiceStub(channel)
        self.alerts = AlertServiceStub(channel)
        self.reports = ReportServiceStub(channel)
        self.decisions = DecisionServiceStub(channel)
        self.settings = SettingsServiceStub(channel)
        self.affinities = AffinityServiceStub(channel)
        self.api_keys = ApiKeyServiceStub(channel)
        self.web_access = WebAccessServiceStub(channel)

    async def all_accounts(self) -> list[accounts_pb2.Account]:
        """Every account, oldest first."""
        found: list[accounts_pb2.Account] = []
        token = ""
        while True:
            request = accounts_pb2.ListAccountsRequest(page_size=PAGE_SIZE, page_token=token)
            page = await self.accounts.ListAccounts(request)
            found += page.accounts
            token = page.next_page_token
            if not token:
                return found

    async def all_api_keys(self) -> list[api_keys_pb2.ApiKey]:
        """Every API key, oldest first."""
        found: list[api_keys_pb2.ApiKey] = []
        token = ""
        while True:
            page = await self.api_keys.ListApiKeys(
                api_keys_pb2.ListApiKeysRequest(page_size=PAGE_SIZE, page_token=token)
            )
            found += page.api_keys
            token = page.next_page_token
            if not token:
                return found


@asynccontextmanager
async def open_admin(address: Address) -> AsyncIterator[Admin]:
    """A client; what control says against a call rises as AdminError."""
    with told_plainly(address.when_away):
        async with open_channel(address.target, tls_ca_file=address.tls_ca, service_token=address.token) as channel:
            yield Admin(channel)


@contextmanager
def told_plainly(when_away: str) -> Iterator[None]:
    """Turns what gRPC raises into a sentence."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        failure = from_rpc_error(error)
        if failure.reason != ErrorReason.ERROR_REASON_UNSPECIFIED:
            raise AdminError(failure.message) from error
        match error.code():
            case grpc.StatusCode.UNAVAILABLE:
                raise AdminError(when_away) from error
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                raise AdminError("control did not answer in time. Its log may say why.") from error
            case _:
                raise AdminError(f"control answered {error.code().name}: {failure.message}") from error
