"""What is measured: the product in both its forms, and what it is compared with. Each runs on a core of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from google.protobuf.field_mask_pb2 import FieldMask

from bench.load import request
from bench.process import pin
from codex_lb.allinone.data_dir import socket_path
from codex_lb.api.admin.v1 import account_service_pb2 as pb
from codex_lb.api.admin.v1 import api_key_service_pb2 as keys_pb
from codex_lb.api.admin.v1 import settings_service_pb2 as settings_pb
from codex_lb.api.admin.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from codex_lb.api.admin.v1.settings_service_pb2_grpc import SettingsServiceStub
from codex_lb.kit.rpc_channel import open_channel
from tests.support.logins import auth_file
from tests.support.system import System, free_port, http_client, start_all_in_one, start_services, until
from tests.support.upstream import Upstream

if TYPE_CHECKING:  # exists only for the type checker
    from codex_lb.api.admin.v1.api_key_service_pb2_grpc import ApiKeyServiceAsyncStub
    from codex_lb.api.admin.v1.settings_service_pb2_grpc import SettingsServiceAsyncStub

Started = Callable[[str, Path], AbstractAsyncContextManager["Subject"]]  # from the upstream's address and a folder

MEASURED_CORE, OTHER_CORE = 0, 1
ACCOUNTS = 20
ACCOUNTS_PER_CALL = 500
PATH = "/backend-api/codex/responses"
LIMIT = keys_pb.Limit(
    unit=keys_pb.LIMIT_UNIT_TOTAL_TOKENS, window=keys_pb.LIMIT_WINDOW_WEEK, amount_max=10**15
)  # never reached, but counted
QUIET = {  # what the clock does beside the turns is not what is measured
    "CODEX_LB_PROXY_ACCOUNT_STREAM_LIMIT": "1000",
    "CODEX_LB_TOKEN_REFRESH_INTERVAL_DAYS": "365",
    "CODEX_LB_USAGE_REFRESH_INTERVAL_SECONDS": "86400",
}
NGINX = """
daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 0; client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path fastcgi; scgi_temp_path scgi; uwsgi_temp_path uwsgi;
  upstream up {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048; keepalive_requests 1000000000;
    location / {{
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Subject:
    """Something that takes turns."""

    name: str
    url: str
    parts: Mapping[str, int]  # its processes that count, by name
    system: System | None = None
    api_key: str = "none"

    def request(self, body: bytes, asked: str, *headers: str, path: str = PATH) -> bytes:
        """A request to it, asking upstream for an answer like this."""
        return request(self.url, path, body, asked, f"authorization: Bearer {self.api_key}", *headers)

    @property
    def pids(self) -> list[int]:
        return list(self.parts.values())


@asynccontextmanager
async def start_upstream() -> AsyncIterator[str]:
    """The upstream, on the core that is not measured; its address."""
    process = started([sys.executable, "-m", "bench.upstream"], Path.cwd())
    assert process.stdout is not None
    try:
        pin(process.pid, OTHER_CORE)
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def split(upstream: str, folder: Path, *, accounts: int = ACCOUNTS) -> AsyncIterator[Subject]:
    """Gateway, control and worker as processes; what the worker does is not counted."""
    async with (
        http_client(upstream) as client,
        start_services(Upstream(upstream, 0, client), made(folder), env=QUIET) as system,
    ):
        api_key = await fill(system, accounts)
        parts = {"gateway": system.gateway.pid, "control": system.control.pid}
        for pid in (*parts.values(), system.worker.pid):
            pin(pid, MEASURED_CORE)
        yield Subject("split", system.base_url, parts, system, api_key)


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
        yield Subject("all-in-one", system.base_url, {"all-in-one": system.control.pid}, system, api_key)


@asynccontextmanager
async def floor(upstream: str, _folder: Path) -> AsyncIterator[Subject]:
    """The bare pass-through."""
    port = free_port()
    async with running([sys.executable, "-m", "bench.floor", upstream, str(port)], Path.cwd(), port) as pid:
        yield Subject("floor", f"http://127.0.0.1:{port}", {"floor": pid})


@asynccontextmanager
async def nginx(upstream: str, folder: Path) -> AsyncIterator[Subject]:
    """nginx that buffers nothing."""
    port, program = free_port(), shutil.which("nginx")
    assert program is not None
    configuration = made(folder) / "nginx.conf"
    configuration.write_text(NGINX.format(upstream=upstream.removeprefix("http://"), port=port))
    command = [program, "-p", str(folder), "-e", "stderr", "-c", str(configuration)]
    async with running(command, folder, port) as pid:
        yield Subject("nginx", f"http://127.0.0.1:{port}", {"nginx": pid})


@asynccontextmanager
async def nothing(upstream: str, _folder: Path) -> AsyncIterator[Subject]:
    """The upstream itself: what a latency is measured against."""
    yield Subject("direct", upstream, {})


def made(folder: Path) -> Path:
    """The folder, made."""
    folder.mkdir(parents=True)
    return folder


async def fill(system: System, size: int) -> str:
    """Puts so many accounts into the pool, gives out as many API keys and asks for them; the last of them."""
    for first in range(0, size, ACCOUNTS_PER_CALL):
        names = [f"account-{n}" for n in range(first, min(first + ACCOUNTS_PER_CALL, size))]
        files = [pb.AuthFile(display_name=n, content=auth_file(n, workspace=f"ws-{n}")) for n in names]
        await system.accounts.ImportAccounts(pb.ImportAccountsRequest(files=files))
    await system.models_known()
    target = f"unix:{socket_path(system.data_dir)}"
    async with open_channel(target, tls_ca_file=None, service_token=None) as channel:
        keys: ApiKeyServiceAsyncStub = ApiKeyServiceStub(channel)
        settings: SettingsServiceAsyncStub = SettingsServiceStub(channel)
        on = settings_pb.Settings(api_key_auth_enabled=True)
        await settings.UpdateSettings(
            settings_pb.UpdateSettingsRequest(settings=on, update_mask=FieldMask(paths=["api_key_auth_enabled"]))
        )
        for number in range(size):
            key = keys_pb.ApiKey(display_name=f"key-{number}", limits=[LIMIT])
            made = await keys.CreateApiKey(keys_pb.CreateApiKeyRequest(api_key=key))
    await until(lambda: is_admitted(system, made.secret), what="a gateway that knows the keys", log=system)
    return made.secret


async def is_admitted(system: System, api_key: str) -> bool:
    """Whether every gateway knows the key and asks for one."""
    url, known = "/v1/models", {"authorization": f"Bearer {api_key}"}
    answers = [(await c.get(url)).status_code + (await c.get(url, headers=known)).status_code for c in system.clients]
    return set(answers) == {401 + 200}


@asynccontextmanager
async def running(command: list[str], folder: Path, port: int) -> AsyncIterator[int]:
    """A server while it answers on a port, pinned; its process."""
    process = started(command, folder)
    try:
        async with httpx.AsyncClient(trust_env=False) as client:

            async def answers() -> bool:
                try:
                    await client.get(f"http://127.0.0.1:{port}/")
                except httpx.TransportError:
                    return False
                return True

            await until(answers, what=f"answer of {command[0]}")
        pin(process.pid, MEASURED_CORE)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def started(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """A process. Not by way of the event loop: uvloop forks, which gRPC's threads do not survive."""
    return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
