"""Accounts are signed in, and logins and keys cared for, from the terminal of a running product."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGINT

import anyio
import anyio.abc
import httpx
import pytest

from tests.support import upstream as sim
from tests.support.system import PROGRAM, READY_WITHIN_S, System, free_port, start_all_in_one
from tests.support.upstream import Upstream


@pytest.fixture
async def system(upstream: Upstream, tmp_path: Path) -> AsyncIterator[System]:
    """`codex-lb serve` with a callback port of its own."""
    await upstream.reset(accounts=True)
    port = free_port()
    env = {
        "CODEX_LB_OAUTH_CALLBACK_PORT": str(port),
        "CODEX_LB_OAUTH_REDIRECT_URI": f"http://127.0.0.1:{port}/auth/callback",
    }
    async with start_all_in_one(upstream, tmp_path, env=env) as system:
        yield system


class Terminal:
    """A command that runs, as a person sees it."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self._process = process
        self.out = ""

    async def shows(self, text: str) -> str:
        """The first line with the text, once it is there."""
        with anyio.fail_after(READY_WITHIN_S):
            while not (found := [line for line in self.out.splitlines(keepends=True) if text in line and "\n" in line]):
                assert self._process.stdout is not None
                self.out += (await self._process.stdout.receive()).decode()
        return found[0].strip()

    async def type(self, line: str) -> None:
        """And the return key."""
        assert self._process.stdin is not None
        await self._process.stdin.send(f"{line}\n".encode())

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(SIGINT)

    async def ends(self) -> int:
        """Its exit code; the rest of what it wrote is in `out`."""
        with anyio.fail_after(READY_WITHIN_S):
            assert self._process.stdout is not None
            async for part in self._process.stdout:
                self.out += part.decode()
            return await self._process.wait()


@asynccontextmanager
async def terminal(system: System, *arguments: str, env: Mapping[str, str] | None = None) -> AsyncIterator[Terminal]:
    """Runs `codex-lb …`; standard error is shown too."""
    async with await anyio.open_process(
        [*PROGRAM, *arguments],
        env={**system.environment, "PYTHONUNBUFFERED": "1", **(env or {})},
        cwd=system.data_dir.parent,
        stderr=-2,
    ) as process:
        try:
            yield Terminal(process)
        finally:
            if process.returncode is None:
                process.kill()


async def consent(url: str) -> str:
    """Opens the issuer's page; the address it leads to."""
    async with httpx.AsyncClient(trust_env=False) as browser:
        return (await browser.get(url)).headers["location"]


async def test_a_browser_sign_in_is_waited_for(system: System) -> None:
    ann = await system.upstream.add_account("ann")

    async with terminal(system, "admin", "accounts", "add") as shown:
        back = await consent(await shown.shows("/oauth/authorize?"))
        async with httpx.AsyncClient(trust_env=False) as browser:
            page = await browser.get(back)
        code = await shown.ends()

    assert (page.status_code, code) == (200, 0)
    assert shown.out.endswith(f"{ann.email}: added\n")
    assert [account.email for account in await system.all_accounts()] == [ann.email]


async def test_a_wrong_line_is_told_and_the_right_one_is_taken(system: System) -> None:
    ann = await system.upstream.add_account("ann")

    async with terminal(system, "admin", "accounts", "add", "--paste") as shown:
        back = await consent(await shown.shows("/oauth/authorize?"))
        await shown.type("what?")
        await shown.shows("That is not the address of the last page of a sign-in")
        await shown.type(back)
        code = await shown.ends()

    assert code == 0
    assert shown.out.endswith(f"{ann.email}: added\n")


async def test_a_device_signs_in(system: System) -> None:
    ann = await system.upstream.add_account("ann")

    async with terminal(system, "admin", "accounts", "add", "--device") as shown:
        user_code = (await shown.shows("type this code:")).rpartition(" ")[2]
        await system.upstream.approve_device("ann", user_code)
        code = await shown.ends()

    assert code == 0
    assert f"{system.upstream.auth_url}/codex/device" in shown.out
    assert shown.out.endswith(f"{ann.email}: added\n")


async def test_another_seat_is_refused_with_both_named(system: System) -> None:
    [ann] = await system.add("ann")
    ben = await system.upstream.add_account("ben")

    async with terminal(system, "admin", "accounts", "add", "--account", ann.email, "--paste") as shown:
        await shown.type(await consent(await shown.shows("/oauth/authorize?")))
        code = await shown.ends()

    assert code == 1
    assert f"codex-lb: {ben.email} of workspace" in shown.out
    assert "Nothing was changed." in shown.out


async def test_calling_it_off_leaves_no_sign_in_behind(system: System) -> None:
    async with terminal(system, "admin", "accounts", "add") as shown:
        await shown.shows("Ctrl-C calls it off")
        shown.interrupt()
        code = await shown.ends()

    assert code != 0
    assert system.query("SELECT stage, ciphertext FROM oauth_flows") == [("cancelled", b"")]


async def test_a_login_is_written_for_its_owners_eyes_only(system: System, tmp_path: Path) -> None:
    [ann] = await system.add("ann")
    file = tmp_path / "out.json"

    written = await system.run("admin", "accounts", "export", ann.email, "-o", str(file))
    piped = await system.run("admin", "accounts", "export", ann.email)

    assert (written.code, file.stat().st_mode & 0o777) == (0, 0o600)
    assert json.loads(file.read_bytes())["tokens"] == json.loads(ann.auth_json)["tokens"]
    assert piped.out.encode() == file.read_bytes()
    assert "Its refresh token works once" in written.err
    assert ann.refresh_token not in written.out + written.err + system.log


async def test_the_key_is_rotated_from_the_terminal_and_logins_still_open(system: System) -> None:
    [ann] = await system.add("ann")
    [(old,)] = system.query("SELECT key_id FROM credentials")

    rotated = await system.run("admin", "keys", "rotate")
    again = await system.run("admin", "keys", "rotate")
    exported = await system.run("admin", "accounts", "export", ann.email)
    listed = await system.run("admin", "keys", "list", "--json")

    assert (rotated.code, again.code) == (0, 1)
    assert "Make a copy of the key file now" in rotated.out
    assert "A rotation is under way" in again.err
    assert ann.refresh_token in exported.out
    keys = {key["keyId"]: (key["state"], key["sealed"]) for key in json.loads(listed.out)["keys"]}
    assert keys.pop(str(old)) == ("KEY_STATE_RETIRING", 0)
    assert list(keys.values()) == [("KEY_STATE_PRESENT", 2)]  # the login, and the link of the first visit


async def test_a_sign_in_survives_a_control_that_is_killed_in_the_middle(system: System) -> None:
    ann = await system.upstream.add_account("ann")
    async with terminal(system, "admin", "accounts", "add") as shown:
        back = await consent(await shown.shows("/oauth/authorize?"))
        await system.control.restart(kill=True)
        await system.ready()
        async with httpx.AsyncClient(trust_env=False) as browser:
            page = await come_back(browser, back)
        code = await shown.ends()

    assert (page.status_code, code) == (200, 0)
    assert shown.out.endswith(f"{ann.email}: added\n")
    assert [account.email for account in await system.all_accounts()] == [ann.email]


async def come_back(browser: httpx.AsyncClient, url: str) -> httpx.Response:
    """The page, once somebody listens."""
    with anyio.fail_after(READY_WITHIN_S):
        while True:
            try:
                return await browser.get(url)
            except httpx.ConnectError:
                await anyio.sleep(0.02)


async def test_no_secret_of_a_sign_in_reaches_the_products_log(system: System) -> None:
    ann = await system.upstream.add_account("ann")
    await system.upstream.script("ann", sim.http(503), kind="token")

    async with terminal(system, "admin", "accounts", "add", "--paste") as shown:
        back = await consent(await shown.shows("/oauth/authorize?"))
        await shown.type(back)
        await shown.shows("The issuer answered with an error of its own")
        await shown.type(back)
        code = await shown.ends()

    exported = await system.run("admin", "accounts", "export", ann.email)
    grants = [row.body for row in await system.upstream.log("token")]
    secrets = {grant[name] for grant in grants for name in ("code", "code_verifier") if name in grant}
    secrets |= {token for name, token in json.loads(exported.out)["tokens"].items() if name != "account_id"}
    assert code == 0
    assert len(secrets) == 5
    assert [secret for secret in secrets if secret in system.log] == []
