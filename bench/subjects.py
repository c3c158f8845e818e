"""What is measured: the product in both its forms, and what it is compared with. Each runs on a core of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from bench.load import request
from bench.process import cpu_s, pin, unpin
from codex_lb.allinone.data_dir import socket_path
from codex_lb.api.admin.v1 import account_service_pb2 as pb
from codex_lb.api.admin.v1 import api_key_service_pb2 as keys_pb
from codex_lb.api.admin.v1 import settings_service_pb2 as settings_pb
from codex_lb.api.admin.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from codex_lb.api.admin.v1.settings_service_pb2_grpc import SettingsServiceStub
from codex_lb.kit.rpc_channel import open_channel
from tests.support.logins import auth_file
from tests.support.system import System, http_client, start_all_in_one, start_services, until
from tests.support.upstream import Upstream

if TYPE_CHECKING:  # exists only for the type checker
    from codex_lb.api.admin.v1.api_key_service_pb2_grpc import ApiKeyServiceAsyncStub
    from codex_lb.api.admin.v1.settings_service_pb2_grpc import SettingsServiceAsyncStub

Started = Callable[[str, Path], AbstractAsyncContextManager["Subject"]]  # from the upstream's address and a folder

MEASURED_CORE, OTHER_CORE = 0, 1
ACCOUNTS = 20
ACCOUNTS_PER_CALL, KEYS_AT_ONCE = 500, 20
RESTING_CORES, LOOKED_AT_S, RESTS_WITHIN_S = 0.04, 1.0, 600.0
PATH = "/backend-api/codex/responses"
LIMIT = keys_pb.Limit(
    unit=keys_pb.LIMIT_UNIT_TOTAL_TOKENS, window=keys_pb.LIMIT_WINDOW_WEEK, amount_max=10**15
)  # never reached, but counted
PLAIN = frozenset({"short", "long", "paced", "codex", "body", "zstd", "waits"})  # loads that anything understands
PRODUCT = PLAIN | {"chat"}
QUIET = {  # what the clock does beside the turns is not what is measured
    "CODEX_LB_PROXY_ACCOUNT_STREAM_LIMIT": "1000",
    "CODEX_LB_TOKEN_REFRESH_INTERVAL_DAYS": "365",
    "CODEX_LB_USAGE_REFRESH_INTERVAL_SECONDS": "86400",
}


@dataclass(frozen=True)
class Subject:
    """Something that takes turns."""

    name: str
    url: str
    parts: Mapping[str, int]  # its processes that count, by name
    system: System | None = None  # of the product
    api_key: str = "none"
    path: str = PATH
    loads: frozenset[str] = PLAIN  # what it is asked for
    is_peer: bool = False  # it stands still while others are measured, for what it does meanwhile is not theirs

    def request(self, body: bytes, asked: str, *headers: str, path: str | None = None) -> bytes:
        """A request to it, asking upstream for an answer like this."""
        return request(self.url, path or self.path, body, asked, f"authorization: Bearer {self.api_key}", *headers)

    @property
    def pids(self) -> list[int]:
        return list(self.parts.values())


@dataclass(frozen=True)
class Source:
    """The upstream while it runs."""

    url: str
    pid: int


@asynccontextmanager
async def start_upstream() -> AsyncIterator[Source]:
    """The upstream, on the core that is not measured."""
    process = started([sys.executable, "-m", "bench.upstream"], Path.cwd(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        pin(process.pid, OTHER_CORE)
        yield Source(f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid)
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def split(
    upstream: str, folder: Path, *, accounts: int = ACCOUNTS, env: Mapping[str, str] | None = None, keys: bool = True
) -> AsyncIterator[Subject]:
    """Gateway, control and worker as processes; what the worker does is not counted."""
    environment = {**QUIET, **(env or {})}
    async with (
        http_client(upstream) as client,
        start_services(Upstream(upstream, 0, client), made(folder), env=environment) as system,
    ):
        api_key = await fill(system, accounts, keys=keys)
        parts = {"gateway": system.gateway.pid, "control": system.control.pid}
        for pid in (*parts.values(), system.worker.pid):
            pin(pid, MEASURED_CORE)
        yield Subject("split", system.base_url, parts, system, api_key, loads=PRODUCT)


@asynccontextmanager
async def all_in_one(
    upstream: str, folder: Path, *, accounts: int = ACCOUNTS, env: Mapping[str, str] | None = None
) -> AsyncIterator[Subject]:
    """`codex-lb serve`."""
    environment = {**QUIET, **(env or {})}
    async with (
        http_client(upstream) as client,
        start_all_in_one(Upstream(upstream, 0, client), made(folder), env=environment) as system,
    ):
        api_key = await fill(system, accounts)
        pin(system.control.pid, MEASURED_CORE)
        yield Subject("all-in-one", system.base_url, {"all-in-one": system.control.pid}, system, api_key, loads=PRODUCT)


def made(folder: Path) -> Path:
    """The folder, made."""
    folder.mkdir(parents=True)
    return folder


async def fill(system: System, size: int, *, keys: bool = True) -> str:
    """Puts so many accounts into the pool, gives out as many API keys and asks for them; the last of them."""
    for program in system.programs:
        unpin(program.pid)  # what it inherited from us
    for first in range(0, size, ACCOUNTS_PER_CALL):
        names = [f"account-{number}" for number in range(first, min(first + ACCOUNTS_PER_CALL, size))]
        files = [pb.AuthFile(display_name=n, content=auth_file(n, workspace=f"ws-{n}")) for n in names]
        await system.accounts.ImportAccounts(pb.ImportAccountsRequest(files=files))
    await system.models_known()
    api_key = await keys_given_out(system, size) if keys else "none"
    await at_rest(system)
    return api_key


async def keys_given_out(system: System, size: int) -> str:
    """Gives out so many API keys, each with a limit, and asks for them from now on; the last of them."""
    target = f"unix:{socket_path(system.data_dir)}"
    async with open_channel(target, tls_ca_file=None, service_token=None) as channel:
        keys: ApiKeyServiceAsyncStub = ApiKeyServiceStub(channel)
        settings: SettingsServiceAsyncStub = SettingsServiceStub(channel)
        on = settings_pb.Settings(api_key_auth_enabled=True)
        await settings.UpdateSettings(
            settings_pb.UpdateSettingsRequest(settings=on, update_mask=FieldMask(paths=["api_key_auth_enabled"]))
        )
        secret = ""
        for first in range(0, size, KEYS_AT_ONCE):
            named = [f"key-{number}" for number in range(first, min(first + KEYS_AT_ONCE, size))]
            asked = [keys_pb.ApiKey(display_name=name, limits=[LIMIT]) for name in named]
            made = (keys.CreateApiKey(keys_pb.CreateApiKeyRequest(api_key=key)) for key in asked)
            secret = (await asyncio.gather(*made))[-1].secret
    await until(lambda: is_admitted(system, secret), what="a gateway that knows the keys", log=system)
    return secret


async def at_rest(system: System) -> None:
    """Returns once the worker has nothing more to do: it fetches the first usage of every account, for minutes if many."""
    used_s = cpu_s([system.worker.pid])

    async def rests() -> bool:
        nonlocal used_s
        before = used_s
        await asyncio.sleep(LOOKED_AT_S)
        used_s = cpu_s([system.worker.pid])
        return used_s - before < RESTING_CORES * LOOKED_AT_S

    await until(rests, within_s=RESTS_WITHIN_S, what="rest", log=system)


async def is_admitted(system: System, api_key: str) -> bool:
    """Whether every gateway knows the key and asks for one."""
    url, known = "/v1/models", {"authorization": f"Bearer {api_key}"}
    answers = [(await c.get(url)).status_code + (await c.get(url, headers=known)).status_code for c in system.clients]
    return set(answers) == {401 + 200}


def started(
    command: list[str],
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    stdout: int = subprocess.DEVNULL,
    log: Path | None = None,
) -> subprocess.Popen[bytes]:
    """A process; what it complains of goes to `log`, or is seen. Not by way of the event loop: uvloop forks, which gRPC's
    threads do not survive.
    """
    environment = {**os.environ, **(env or {})}
    with log.open("ab") if log else nullcontext() as stderr:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
