"""The product as tests see it: started on free ports as real processes, against the simulator.

async with start_all_in_one(upstream, folder) as system:
    await system.add("a")
    answer = await system.client.post("/v1/responses", json=a_turn())
    …
    await system.settled()
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anyio
import grpc.aio
import httpx

from codex_lb.allinone.data_dir import socket_path
from codex_lb.api.admin.v1 import account_service_pb2 as pb
from codex_lb.api.admin.v1.account_service_pb2_grpc import AccountServiceStub
from codex_lb.api.admin.v1.system_service_pb2 import GetStatusRequest, GetStatusResponse
from codex_lb.api.admin.v1.system_service_pb2_grpc import SystemServiceStub
from codex_lb.kit.rpc_channel import open_channel
from tests.support.upstream import SimAccount, Upstream

if TYPE_CHECKING:  # these exist only for the type checker: the plain stubs over an asynchronous channel
    from codex_lb.api.admin.v1.account_service_pb2_grpc import AccountServiceAsyncStub
    from codex_lb.api.admin.v1.system_service_pb2_grpc import SystemServiceAsyncStub

Plan = Literal["plus", "pro", "team", "business", "enterprise", "edu", "go", "free", "weekly"]

READY_WITHIN_S = 20.0  # a cold interpreter on a busy machine
WITHIN_S = 10.0  # for what should happen at once
LOOK_EVERY_S = 0.02
PROGRAM = (sys.executable, "-m", "codex_lb.allinone")


class SystemFailedError(AssertionError):
    """The product did not do what the test expects; the text ends with what it logged."""


class Program:
    """One process of the product. It can be ended in any way and started again, on the same ports."""

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        folder: Path,
        *,
        name: str,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.name = name
        self.log_file = folder / f"{name}.log"
        self._command = [*program, *arguments]
        self._env = dict(env)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its id. Raises SystemFailedError when it was never started."""
        return self._started().pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All it has written so far, over every start."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def start(self) -> None:
        """Starts it; returns at once."""
        if self.is_running:
            raise SystemFailedError(f"{self.name} is running already")
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # a Ctrl-C in the terminal is for whoever started us, who then ends us in order
            )

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._started().send_signal(number)

    async def says(self, text: str, *, within_s: float = WITHIN_S) -> None:
        """Returns once it has written this."""
        await until(lambda: text in self.log, within_s=within_s, what=repr(text), log=self)

    async def ended(self, *, within_s: float = WITHIN_S) -> int:
        """Its exit code, once it has ended. Raises SystemFailedError when it goes on."""
        process = self._started()
        await until(lambda: process.poll() is not None, within_s=within_s, what=f"the end of {self.name}", log=self)
        return process.returncode

    async def stop(self, *, within_s: float = WITHIN_S) -> int:
        """SIGTERM; its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended(within_s=within_s)

    async def kill(self) -> None:
        """SIGKILL, as the kernel would when memory runs out."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def restart(self, *, kill: bool = False) -> None:
        """Ends it, then starts it again; returns at once after that."""
        if kill:
            await self.kill()
        else:
            await self.stop()
        self.start()

    async def end(self) -> None:
        """Whatever state it is in, it runs no more."""
        if self.is_running:
            self.signal(signal.SIGKILL)
            with anyio.CancelScope(shield=True):
                await self.ended()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise SystemFailedError(f"{self.name} was never started")
        return self._process


@dataclass
class System:
    """A running product. In the all-in-one form `control`, `gateway` and `worker` are one and the same program."""

    upstream: Upstream
    data_dir: Path
    control: Program
    gateways: list[Program]
    worker: Program
    base_urls: list[str]  # one per gateway
    clients: list[httpx.AsyncClient]
    accounts: AccountServiceAsyncStub
    status_service: SystemServiceAsyncStub
    ready_urls: dict[str, str]  # by program
    environment: dict[str, str] = field(default_factory=dict)  # what its programs were started with
    more_controls: list[Program] = field(default_factory=list)  # beyond the first

    @property
    def gateway(self) -> Program:
        """The first gateway."""
        return self.gateways[0]

    @property
    def base_url(self) -> str:
        """Of the first gateway."""
        return self.base_urls[0]

    @property
    def client(self) -> httpx.AsyncClient:
        """To the first gateway."""
        return self.clients[0]

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.data_dir / "store.db"

    @property
    def programs(self) -> list[Program]:
        """Every process, in the order of their start, each once."""
        return list(dict.fromkeys([self.control, *self.more_controls, *self.gateways, self.worker]))

    @property
    def log(self) -> str:
        """What all programs have written."""
        return "".join(f"--- {program.name}\n{program.log}" for program in self.programs)

    async def import_account(self, account: SimAccount) -> str:
        """Adds an account of the simulator's to the pool; its resource name."""
        files = [pb.AuthFile(display_name=account.name, content=account.auth_json)]
        answer = await self.accounts.ImportAccounts(pb.ImportAccountsRequest(files=files))
        if not answer.rows[0].account.name:
            raise SystemFailedError(answer.rows[0].problem)
        return answer.rows[0].account.name

    async def add(self, *names: str, plan: Plan = "plus") -> list[SimAccount]:
        """Makes accounts at the simulator and imports them."""
        made = [await self.upstream.add_account(name, plan=plan) for name in names]
        for account in made:
            await self.import_account(account)
        return made

    async def all_accounts(self) -> list[pb.Account]:
        """The pool, oldest account first."""
        return list((await self.accounts.ListAccounts(pb.ListAccountsRequest(page_size=1000))).accounts)

    async def account(self, of: SimAccount) -> pb.Account:
        """How an account of the simulator's stands in the pool."""
        found = [account for account in await self.all_accounts() if account.email == of.email]
        if len(found) != 1:
            raise SystemFailedError(f"{len(found)} accounts are called {of.email}")
        return found[0]

    async def status(self) -> GetStatusResponse:
        """The product at a glance."""
        return await self.status_service.GetStatus(GetStatusRequest())

    async def wait_for_status(
        self, holds: Callable[[GetStatusResponse], bool], *, what: str = "that status", within_s: float = WITHIN_S
    ) -> GetStatusResponse:
        """The status, once it is as wanted; a control that is away is waited for."""
        seen: list[GetStatusResponse] = []

        async def look() -> bool:
            try:
                seen.append(await self.status())
            except grpc.aio.AioRpcError:
                return False
            return holds(seen[-1])

        await until(look, within_s=within_s, what=what, log=self, seen=seen)
        return seen[-1]

    async def wait_for_account(
        self, of: SimAccount, holds: Callable[[pb.Account], bool], *, within_s: float = WITHIN_S
    ) -> pb.Account:
        """The account, once it is as wanted."""
        seen: list[pb.Account] = []

        async def look() -> bool:
            seen.append(await self.account(of))
            return holds(seen[-1])

        await until(look, within_s=within_s, what=f"{of.email} as wanted", log=self, seen=seen)
        return seen[-1]

    async def models_known(self, *, within_s: float = WITHIN_S) -> None:
        """Waits until the models of an imported account are listed and every gateway offers them."""
        await self.wait_for_status(lambda status: status.models > 0, what="models in the catalog", within_s=within_s)
        for client in self.clients:

            async def are_offered(client: httpx.AsyncClient = client) -> bool:
                answer = await client.get("/v1/models")
                return answer.status_code == 200 and bool(answer.json()["data"])

            await until(are_offered, within_s=within_s, what="models at a gateway", log=self)

    async def settled(self, *, turns: int | None = None, within_s: float = WITHIN_S) -> GetStatusResponse:
        """Waits until no lease is held and nothing is left to store; with `turns`, until as many are recorded.

        A gateway hands settlements on with a delay of milliseconds, so name the turns when they have just ended.
        Turns are counted since the present start of control.
        """

        def is_settled(status: GetStatusResponse) -> bool:
            is_quiet = status.leases == 0 and status.settlements_waiting == 0
            return is_quiet and (turns is None or status.turns_recorded >= turns)

        return await self.wait_for_status(is_settled, what="all settled", within_s=within_s)

    async def ready(self, *, within_s: float = READY_WITHIN_S) -> None:
        """Waits until every running program says that it is ready, and every gateway and the worker have attached."""
        for program in self.programs:
            if program.is_running and program.name in self.ready_urls:
                await wait_until_ready(program, self.ready_urls[program.name], within_s=within_s)
        gateways = sum(gateway.is_running for gateway in self.gateways)
        await self.wait_for_status(
            lambda status: (
                (len(status.gateways) >= gateways or bool(self.more_controls))
                and (status.HasField("worker_seen_at") or not self.worker.is_running)
            ),
            what="everybody attached",
            within_s=within_s,
        )

    def query(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        """Reads the database as it is on disk."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def change(self, sql: str) -> None:
        """Writes to the database behind the product's back; only while control is stopped."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute(sql)

    async def run(self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Ran:
        """Runs another `codex-lb …` with the same settings, such as `admin accounts list`."""
        return await run_program(arguments, {**self.environment, **(env or {})}, self.data_dir.parent, stdin=stdin)


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str


async def run_program(
    arguments: Sequence[str],
    env: Mapping[str, str],
    folder: Path,
    *,
    stdin: bytes = b"",
    within_s: float = READY_WITHIN_S,
) -> Ran:
    """Runs `codex-lb` with these arguments to its end."""
    with anyio.fail_after(within_s):
        ended = await anyio.run_process([*PROGRAM, *arguments], env=env, cwd=folder, input=stdin, check=False)
    return Ran(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


@asynccontextmanager
async def start_all_in_one(
    upstream: Upstream, folder: Path, *, port: int = 0, env: Mapping[str, str] | None = None, wait: bool = True
) -> AsyncIterator[System]:
    """`codex-lb serve` in a process of its own, with everything in `folder`; it ends with the block."""
    data_dir, port = folder / "data", port or free_port()
    environment = {**settings_for(upstream, data_dir), **(env or {})}
    program = Program(["serve", "--port", str(port)], environment, folder, name="codex-lb")
    base_url = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(
            open_channel(f"unix:{socket_path(data_dir)}", tls_ca_file=None, service_token=None)
        )
        client = await stack.enter_async_context(http_client(base_url))
        stack.push_async_callback(program.end)
        program.start()
        system = System(
            upstream=upstream,
            data_dir=data_dir,
            control=program,
            gateways=[program],
            worker=program,
            base_urls=[base_url],
            clients=[client],
            accounts=AccountServiceStub(channel),
            status_service=SystemServiceStub(channel),
            ready_urls={program.name: f"{base_url}/health/ready"},
            environment=environment,
        )
        if wait:
            await system.ready()
        yield system


@asynccontextmanager
async def start_services(
    upstream: Upstream,
    folder: Path,
    *,
    gateways: int = 1,
    env: Mapping[str, str] | None = None,
    controls: int = 1,
    database_url: str | None = None,
    wait: bool = True,
) -> AsyncIterator[System]:
    """`codex-lb control`, `gateway` (either once or several times) and `usage-worker`, over TCP with a service token."""
    data_dir, token = folder / "data", secrets.token_hex(16)
    rpc, http, worker_http = (f"127.0.0.1:{free_port()}" for _ in range(3))
    ports = [free_port() for _ in range(gateways)]
    more_rpc = [f"127.0.0.1:{free_port()}" for _ in range(controls - 1)]
    environment = settings_for(upstream, data_dir) | {
        "CODEX_LB_CONTROL_LISTEN": rpc,
        "CODEX_LB_CONTROL_HTTP_LISTEN": http,
        "CODEX_LB_CONTROL_TARGET": rpc,
        "CODEX_LB_WORKER_HTTP_LISTEN": worker_http,
        "CODEX_LB_SERVICE_TOKEN": token,
        "CODEX_LB_SERVER": rpc,
    }
    if database_url is not None:
        environment["CODEX_LB_DATABASE_URL"] = database_url
    environment.update(env or {})
    control = Program(["control"], environment, folder, name="control")
    more_controls = [
        Program(
            ["control"],
            environment
            | {"CODEX_LB_CONTROL_LISTEN": address, "CODEX_LB_CONTROL_HTTP_LISTEN": f"127.0.0.1:{free_port()}"},
            folder,
            name=f"control-{number}",
        )
        for number, address in enumerate(more_rpc, start=2)
    ]
    targets = [rpc, *more_rpc]
    gateway_programs = [
        Program(
            ["gateway"],
            environment
            | {
                "CODEX_LB_PORT": str(port),
                "CODEX_LB_DATA_DIR": str(folder / f"gateway-{number}"),
                "CODEX_LB_CONTROL_TARGET": target_of([*targets[number % controls :], *targets[: number % controls]]),
            },
            folder,
            name=f"gateway-{number}",
        )
        for number, port in enumerate(ports, start=1)
    ]
    worker = Program(["usage-worker"], environment, folder, name="usage-worker")
    base_urls = [f"http://127.0.0.1:{port}" for port in ports]
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(open_channel(rpc, tls_ca_file=None, service_token=token))
        clients = [await stack.enter_async_context(http_client(base_url)) for base_url in base_urls]
        for program in (control, *more_controls, *gateway_programs, worker):
            stack.push_async_callback(program.end)
            program.start()
        system = System(
            upstream=upstream,
            data_dir=data_dir,
            control=control,
            gateways=gateway_programs,
            worker=worker,
            base_urls=base_urls,
            clients=clients,
            accounts=AccountServiceStub(channel),
            status_service=SystemServiceStub(channel),
            ready_urls={
                control.name: f"http://{http}/health/ready",
                worker.name: f"http://{worker_http}/health/ready",
            }
            | {p.name: f"{url}/health/ready" for p, url in zip(gateway_programs, base_urls, strict=True)},
            environment=environment,
            more_controls=more_controls,
        )
        if wait:
            await system.ready()
        yield system


def target_of(addresses: Sequence[str]) -> str:
    """What gRPC dials: the first address that answers."""
    return addresses[0] if len(addresses) == 1 else "ipv4:" + ",".join(addresses)


def a_turn(prompt: str = "Say hello", *, model: str = "gpt-5.3-codex", stream: bool = False) -> dict[str, object]:
    """The body of a small turn, for both dialects. Markers like <<say:…>> tell the simulator what to answer."""
    return {
        "model": model,
        "instructions": "Answer briefly.",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": prompt}]}],
        "stream": stream,
        "store": False,
    }


def settings_for(upstream: Upstream, data_dir: Path) -> dict[str, str]:
    """The environment of a product that knows only the simulator: nothing of ours is inherited."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CODEX_LB_") and name not in ("HOST", "PORT") and not name.lower().endswith("_proxy")
    }
    return inherited | {
        "CODEX_LB_DATA_DIR": str(data_dir),
        "CODEX_LB_UPSTREAM_BASE_URL": upstream.chatgpt_url,
        "CODEX_LB_AUTH_BASE_URL": upstream.auth_url,
        "COLUMNS": "200",
    }


def free_port() -> int:
    """A port that nobody uses. It is chosen here and not by the product, so that a restart finds it again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def http_client(base_url: str) -> httpx.AsyncClient:
    """A client of the product's."""
    return httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=READY_WITHIN_S)


async def wait_until_ready(program: Program, url: str, *, within_s: float = READY_WITHIN_S) -> None:
    """Returns once the program says that it is ready. Raises SystemFailedError, at once when it has ended."""
    async with httpx.AsyncClient(trust_env=False, timeout=within_s) as client:

        async def is_ready() -> bool:
            if not program.is_running:
                raise SystemFailedError(f"{program.name} has ended\n{program.log}")
            try:
                return (await client.get(url)).status_code == 200
            except httpx.TransportError:
                return False

        await until(is_ready, within_s=within_s, what=f"{program.name} ready", log=program)


async def until(
    holds: Callable[[], bool | Awaitable[bool]],
    *,
    within_s: float = WITHIN_S,
    what: str = "the condition",
    log: Program | System | None = None,
    seen: Sequence[object] = (),
) -> None:
    """Returns once the condition holds. Raises SystemFailedError after `within_s` seconds."""
    deadline = anyio.current_time() + within_s
    while True:
        answer = holds()
        if await answer if isinstance(answer, Awaitable) else answer:
            return
        if anyio.current_time() > deadline:
            last = f"; last seen: {seen[-1]}" if seen else ""
            raise SystemFailedError(f"no {what} within {within_s} s{last}\n{log.log if log else ''}")
        await anyio.sleep(LOOK_EVERY_S)
