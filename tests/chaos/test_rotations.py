"""A hundred logins are rotated by eight workers that are killed, under clocks that are wrong: none is lost by reuse."""

from __future__ import annotations

import os
import random
import secrets
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from codex_lb.api.admin.v1 import account_service_pb2 as pb
from codex_lb.api.admin.v1.account_service_pb2_grpc import AccountServiceStub
from codex_lb.kit.rpc_channel import open_channel
from tests.support.system import Program, free_port, settings_for, until, wait_until_ready
from tests.support.upstream import SimAccount, Upstream, start_upstream

ACCOUNTS = 100
WORKERS = 8
SKEW_S = 300.0
ROTATIONS = int(os.environ.get("ROTATIONS", "2000"))  # 10000 for the long run
EVERY_S = 2.0  # how often each login is rotated
KILLED_EVERY_S = 3.0
FROZEN_S = 0.3  # long enough for every exchange that runs to be answered
WITHIN_S = 60.0 + ROTATIONS / 10
SKEWED = (sys.executable, "-m", "tests.support.skewed")
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Fleet:
    """Control and its workers, each with a clock of its own."""

    upstream: Upstream
    folder: Path
    control: Program
    control_url: str
    workers: list[Program]
    accounts: AccountServiceStub

    async def import_all(self, logins: list[SimAccount]) -> None:
        """Puts the logins into the pool."""
        files = [pb.AuthFile(display_name=login.name, content=login.auth_json) for login in logins]
        rows = (await self.accounts.ImportAccounts(pb.ImportAccountsRequest(files=files))).rows
        assert not [row.problem for row in rows if row.problem]

    async def listed(self) -> list[pb.Account]:
        """The pool."""
        return list((await self.accounts.ListAccounts(pb.ListAccountsRequest(page_size=1000))).accounts)

    async def exchanges(self) -> int:
        """Pairs that the issuer has issued for refresh tokens."""
        counters = await self.upstream.counters()
        return sum(tally.exchanges for tally in counters.accounts.values())

    def journal(self) -> Counter[str]:
        """Exchanges by outcome."""
        with closing(sqlite3.connect(f"file:{self.folder / 'data' / 'store.db'}?mode=ro", uri=True)) as connection:
            rows = connection.execute("select coalesce(outcome, 'open'), count(*) from exchanges group by 1").fetchall()
        return Counter(dict(rows))


@asynccontextmanager
async def start_fleet(upstream: Upstream, folder: Path) -> AsyncIterator[Fleet]:
    """Control five minutes behind, the workers five minutes off in both directions."""
    rpc, http, token = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", secrets.token_hex(16)
    environment = settings_for(upstream, folder / "data") | {
        "CODEX_LB_CONTROL_LISTEN": rpc,
        "CODEX_LB_CONTROL_HTTP_LISTEN": http,
        "CODEX_LB_CONTROL_TARGET": rpc,
        "CODEX_LB_SERVICE_TOKEN": token,
        "CODEX_LB_TOKEN_REFRESH_INTERVAL_DAYS": str(EVERY_S / 86_400),
        "CODEX_LB_TOKEN_REFRESH_AT_ONCE_MAX": str(WORKERS),
        "CODEX_LB_TOKEN_REFRESH_GAP_SECONDS": "0",
        "CODEX_LB_USAGE_REFRESH_INTERVAL_SECONDS": "5",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }

    def program(service: str, name: str, skew_s: float, **more: str) -> Program:
        skew = folder / f"{name}.skew"
        skew.write_text(str(skew_s))
        return Program([service], environment | {"SKEW_FILE": str(skew), **more}, folder, name=name, program=SKEWED)

    control = program("control", "control", -SKEW_S)
    workers = [
        program(
            "usage-worker",
            f"worker-{number}",
            SKEW_S * (2 * number / (WORKERS - 1) - 1),
            CODEX_LB_WORKER_HTTP_LISTEN=f"127.0.0.1:{free_port()}",
        )
        for number in range(WORKERS)
    ]
    url = f"http://{http}/health/ready"
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(open_channel(rpc, tls_ca_file=None, service_token=token))
        for one in (control, *workers):
            stack.push_async_callback(one.end)
        control.start()
        await wait_until_ready(control, url)
        for worker in workers:
            worker.start()
        yield Fleet(upstream, folder, control, url, workers, AccountServiceStub(channel))


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """A fleet with a hundred logins."""
    async with start_upstream() as upstream, start_fleet(upstream, tmp_path) as fleet:
        await upstream.keep_bytes(keep=False)
        await fleet.import_all([await upstream.add_account(f"user-{n}") for n in range(ACCOUNTS)])
        yield fleet


async def test_no_refresh_token_is_used_twice_whoever_dies_and_whatever_the_clocks_say(fleet: Fleet) -> None:
    chance = random.Random(4)
    halfway = ROTATIONS // 2
    is_control_still_to_kill = True

    with anyio.fail_after(WITHIN_S):
        while (rotated := await fleet.exchanges()) < ROTATIONS:
            await anyio.sleep(KILLED_EVERY_S)  # the rhythm of the kills; what is waited for is the number of rotations
            if rotated > halfway and is_control_still_to_kill:
                (fleet.folder / "control.skew").write_text(str(SKEW_S))
                await fleet.control.restart(kill=True)
                await wait_until_ready(fleet.control, fleet.control_url)
                is_control_still_to_kill = False
            else:
                await _lose_a_worker(fleet, chance)

    assert [v for v in await fleet.upstream.violations() if v.kind == "refresh_token_reused"] == []
    await _all_end_usable_or_honestly_out(fleet)


async def _lose_a_worker(fleet: Fleet, chance: random.Random) -> None:
    """Kills one, at times while control stands still: what the issuer has just given it is lost with it."""
    worker = chance.choice(fleet.workers)
    if chance.random() < 0.5:
        fleet.control.signal(signal.SIGSTOP)
        await anyio.sleep(FROZEN_S)
        await worker.kill()
        fleet.control.signal(signal.SIGCONT)
        worker.start()
    else:
        await worker.restart(kill=True)


async def _all_end_usable_or_honestly_out(fleet: Fleet) -> None:
    """Every account that says it serves is taken by upstream from now on; the others say that they need a sign-in."""
    await fleet.control.restart()  # what killed workers still hold would come back only when it lapses
    await wait_until_ready(fleet.control, fleet.control_url)
    before = {account.name: account.usage_observed_at.ToNanoseconds() for account in await fleet.listed()}

    async def is_seen_again() -> bool:
        return all(
            account.status == pb.ACCOUNT_STATUS_REAUTH_REQUIRED
            or (
                account.status == pb.ACCOUNT_STATUS_ACTIVE
                and account.usage_observed_at.ToNanoseconds() > before[account.name]
            )
            for account in await fleet.listed()
        )

    await until(is_seen_again, within_s=30.0, what="every account usable or out", log=fleet.control)
    statuses = Counter(pb.AccountStatus.Name(account.status) for account in await fleet.listed())
    for worker in fleet.workers:
        worker.signal(signal.SIGTERM)
    for worker in fleet.workers:
        assert await worker.ended(within_s=30.0) == 0
    print(f"{await fleet.exchanges()} exchanges, journal {dict(fleet.journal())}, {dict(statuses)}")  # noqa: T201
    assert statuses["ACCOUNT_STATUS_ACTIVE"] >= 0.9 * ACCOUNTS
