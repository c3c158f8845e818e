"""Accounts are signed in at the simulator's issuer: by browser, by pasted address, by device code, and again."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import pytest
import structlog
from structlog.testing import capture_logs

from codex_lb.api.admin.v1 import account_service_pb2 as accounts_pb
from codex_lb.api.admin.v1 import oauth_service_pb2 as pb
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.api.worker.v1 import refresh_pb2
from codex_lb.control.domain.enrolment import exchanging
from codex_lb.control.settings import ControlSettings
from tests.integration.control.conftest import OpenControl
from tests.integration.control.peers import WITHIN_S, Peers, eventually, open_peers, refused
from tests.support import upstream as sim
from tests.support.clock import FakeClock
from tests.support.system import free_port
from tests.support.upstream import ANY, Upstream, start_upstream

PENDING, SUCCEEDED, FAILED = pb.FLOW_STATE_PENDING, pb.FLOW_STATE_SUCCEEDED, pb.FLOW_STATE_FAILED


@pytest.fixture(scope="module")
async def simulator() -> AsyncIterator[Upstream]:
    """One for the file."""
    async with start_upstream() as upstream:
        yield upstream


@pytest.fixture
async def upstream(simulator: Upstream) -> Upstream:
    """Without accounts."""
    await simulator.reset(accounts=True)
    return simulator


@pytest.fixture(name="start_control")
def _start_control(request: pytest.FixtureRequest) -> OpenControl:
    """The shared fixture `start`, under a name that leaves ours to sign-ins."""
    opened: OpenControl = request.getfixturevalue("start")
    return opened


@pytest.fixture
def port() -> int:
    """Where browsers come back to."""
    return free_port()


@pytest.fixture
def settings(tmp_path: Path, upstream: Upstream, port: int) -> ControlSettings:
    """Control that signs in at the simulator."""
    return ControlSettings(
        data_dir=tmp_path,
        auth_base_url=upstream.auth_url,
        oauth_redirect_uri=f"http://127.0.0.1:{port}/auth/callback",
        oauth_callback_port=port,
        oauth_timeout_seconds=5,
    )


@pytest.fixture
async def browser() -> AsyncIterator[httpx.AsyncClient]:
    """A browser that shows every page instead of following it on."""
    async with httpx.AsyncClient(trust_env=False, timeout=WITHIN_S) as client:
        yield client


async def start(peers: Peers, *, account: str = "") -> pb.StartFlowResponse:
    """A sign-in by browser."""
    return await peers.sign_ins.StartFlow(pb.StartFlowRequest(method=pb.FLOW_METHOD_BROWSER, account=account))


async def start_device(peers: Peers, *, account: str = "") -> pb.StartFlowResponse:
    """A sign-in by device code."""
    return await peers.sign_ins.StartFlow(pb.StartFlowRequest(method=pb.FLOW_METHOD_DEVICE, account=account))


async def consent(browser: httpx.AsyncClient, started: pb.StartFlowResponse) -> str:
    """Opens the issuer's page; the address it leads to."""
    return (await browser.get(started.authorization_url)).headers["location"]


async def look(peers: Peers, started: pb.StartFlowResponse) -> pb.Flow:
    """How it stands."""
    return await peers.sign_ins.GetFlow(pb.GetFlowRequest(name=started.flow.name))


async def paste(peers: Peers, url: str, started: pb.StartFlowResponse | None = None) -> pb.Flow:
    """Completes a sign-in by hand."""
    name = started.flow.name if started else ""
    return await peers.sign_ins.CompleteFlow(pb.CompleteFlowRequest(name=name, callback_url=url))


async def listed(peers: Peers) -> list[accounts_pb.Account]:
    """The pool."""
    return list((await peers.accounts.ListAccounts(accounts_pb.ListAccountsRequest())).accounts)


def everything_in(folder: Path) -> bytes:
    """The database, its log and whatever else lies there."""
    return b"".join(file.read_bytes() for file in folder.glob("store.db*"))


def is_bound(port: int) -> bool:
    """Whether somebody listens there."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def closes(port: int) -> None:
    """Returns once nobody listens there any more."""

    async def ask() -> bool:
        return await anyio.to_thread.run_sync(is_bound, port)

    await eventually(ask, lambda bound: not bound)


async def test_a_browser_comes_back_and_the_account_is_in_the_pool(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient, port: int
) -> None:
    ann = await upstream.add_account("ann", plan="pro")
    assert not is_bound(port)

    started = await start(peers)
    page = await browser.get(await consent(browser, started))

    assert (page.status_code, "Signed in" in page.text) == (200, True)
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    flow, [account] = await look(peers, started), await listed(peers)
    assert (flow.state, flow.account, flow.account_created) == (SUCCEEDED, account.name, True)
    assert (account.email, account.plan, account.status) == (ann.email, "pro", accounts_pb.ACCOUNT_STATUS_ACTIVE)
    await closes(port)


async def test_the_issuers_page_is_asked_what_the_codex_cli_asks(peers: Peers, upstream: Upstream, port: int) -> None:
    started = await start(peers)

    asked = {name: values[0] for name, values in parse_qs(urlsplit(started.authorization_url).query).items()}

    assert started.authorization_url.startswith(f"{upstream.auth_url}/oauth/authorize?")
    assert len(asked.pop("state")) >= 22
    assert len(asked.pop("code_challenge")) == 43
    assert asked == {
        "response_type": "code",
        "client_id": "app_EMoamEEZ73f0CkXaXp7hrann",
        "redirect_uri": f"http://127.0.0.1:{port}/auth/callback",
        "scope": "openid profile email offline_access",
        "code_challenge_method": "S256",
        "id_token_add_organizations": "true",
        "codex_cli_simplified_flow": "true",
        "originator": "codex_chatgpt_desktop",
    }


async def test_whoever_signed_in_is_asked_for_their_usage_at_once(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient
) -> None:
    await upstream.add_account("ann")

    await browser.get(await consent(browser, await start(peers)))

    [account] = await listed(peers)
    tickets = await peers.claim(refresh_pb2.TICKET_KIND_USAGE)
    assert [f"accounts/{ticket.account_id}" for ticket in tickets] == [account.name]


async def test_signing_in_again_renews_the_login_of_the_same_account(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient
) -> None:
    ann = await upstream.add_account("ann")
    [known] = await peers.import_(ann.auth_json)

    started = await start(peers)
    page = await browser.get(await consent(browser, started))

    flow, [renewed] = await look(peers, started), await listed(peers)
    assert "The account has its new login." in page.text
    assert (flow.account, flow.account_created) == (known.name, False)
    assert (renewed.created_at, renewed.etag != known.etag) == (known.created_at, True)


async def test_a_pasted_address_does_what_the_browser_would_have_done(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient
) -> None:
    ann = await upstream.add_account("ann")
    by_name, by_state = await start(peers), await start(peers)

    first = await paste(peers, f"  {await consent(browser, by_name)}\n", by_name)
    second = await paste(peers, await consent(browser, by_state))

    assert (first.state, second.state) == (SUCCEEDED, SUCCEEDED)
    assert [account.email for account in await listed(peers)] == [ann.email]


@pytest.mark.parametrize("pasted", ["", "nonsense", "http://localhost:1455/auth/callback", "x" * 10_000, "http://[/?"])
async def test_an_address_that_is_none_is_refused_and_the_sign_in_goes_on(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient, pasted: str
) -> None:
    await upstream.add_account("ann")
    started = await start(peers)

    failure = await refused(paste(peers, pasted, started))

    assert failure.reason == reasons_pb2.ERROR_REASON_INVALID_ARGUMENT
    assert (await look(peers, started)).state == PENDING
    assert (await paste(peers, await consent(browser, started), started)).state == SUCCEEDED


async def test_a_state_of_somebody_else_gets_a_page_saying_so_and_disturbs_nothing(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient, port: int
) -> None:
    await upstream.add_account("ann")
    started = await start(peers)
    own = await consent(browser, started)

    foreign = await browser.get(f"http://127.0.0.1:{port}/auth/callback?code=stolen&state=not-ours")
    declined = await browser.get(f"http://127.0.0.1:{port}/auth/callback?error=access_denied&state=not-ours")
    elsewhere = await browser.get(f"http://127.0.0.1:{port}/")
    between = await look(peers, started)
    page = await browser.get(own)

    assert (foreign.status_code, declined.status_code, elsewhere.status_code) == (400, 400, 404)
    assert "belongs to another sign-in" in foreign.text
    assert (between.state, between.problem) == (PENDING, "")
    assert page.status_code == 200


async def test_an_address_of_another_sign_in_is_refused_and_both_go_on(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient
) -> None:
    await upstream.add_account("ann")
    one, other = await start(peers), await start(peers)
    url = await consent(browser, other)

    failure = await refused(paste(peers, url, one))

    assert "belongs to another sign-in" in failure.message
    assert [(await look(peers, flow)).state for flow in (one, other)] == [PENDING, PENDING]
    assert (await paste(peers, url, other)).state == SUCCEEDED


async def test_declined_consent_is_told_and_ends_the_sign_in(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient, port: int
) -> None:
    await upstream.add_account("ann")
    await upstream.at_the_browser("ann", consents=False)

    started = await start(peers)
    page = await browser.get(await consent(browser, started))

    flow = await look(peers, started)
    assert (page.status_code, "was declined" in page.text) == (400, True)
    assert (flow.state, flow.problem) == (
        FAILED,
        "The sign-in was declined on the issuer's page. Start again when it should be allowed.",
    )
    assert await listed(peers) == []
    await closes(port)


async def test_a_code_that_is_too_old_is_told(peers: Peers, upstream: Upstream, browser: httpx.AsyncClient) -> None:
    await upstream.add_account("ann")
    started = await start(peers)
    url = await consent(browser, started)
    await upstream.expire_codes()

    page = await browser.get(url)

    flow = await look(peers, started)
    assert page.status_code == 400
    assert (flow.state, flow.problem) == (
        FAILED,
        "The issuer does not take the code (invalid_grant): it was used before, or is too old. Start again.",
    )


async def test_an_issuer_that_does_not_answer_leaves_the_sign_in_open_for_another_try(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient
) -> None:
    await upstream.add_account("ann")
    await upstream.script("ann", sim.http(503), sim.refuse(), kind="token")
    started = await start(peers)
    url = await consent(browser, started)

    away, cut = await browser.get(url), await browser.get(url)
    between = await look(peers, started)
    page = await browser.get(url)

    assert [(answer.status_code, "Load the page again" in answer.text) for answer in (away, cut)] == [(502, True)] * 2
    assert between.state == PENDING
    assert between.problem.startswith("The issuer could not be reached (")
    assert page.status_code == 200
    assert (await look(peers, started)).problem == ""


async def test_a_page_that_is_loaded_again_tells_the_same_end(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient
) -> None:
    await upstream.add_account("ann")
    keeps_the_port = await start(peers)
    started = await start(peers)
    url = await consent(browser, started)

    pages = [await browser.get(url) for _ in range(3)]
    pasted = await paste(peers, url, started)

    assert [page.status_code for page in pages] == [200, 200, 200]
    assert pasted.state == SUCCEEDED
    assert len(await upstream.log("token")) == 1
    assert (await look(peers, keeps_the_port)).state == PENDING


async def test_two_pages_at_once_exchange_the_code_once(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient
) -> None:
    await upstream.add_account("ann")
    await upstream.script("ann", sim.hold_headers(), kind="token")
    url = await consent(browser, await start(peers))
    pages: list[httpx.Response] = []

    async def load() -> None:
        pages.append(await browser.get(url))

    async with anyio.create_task_group() as loading:
        loading.start_soon(load)
        loading.start_soon(load)
        await upstream.wait_for(lambda seen: seen.held == 1)
        await upstream.release()

    assert [page.status_code for page in pages] == [200, 200]
    assert len(await upstream.log("token")) == 1
    assert len(await listed(peers)) == 1


async def test_a_port_that_another_program_has_is_told_and_the_address_can_be_pasted(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient, port: int
) -> None:
    await upstream.add_account("ann")
    with closing(socket.create_server(("127.0.0.1", port))):
        started = await start(peers)
        pasted = await paste(peers, await consent(browser, started), started)

    assert started.callback_problem == (
        f"Cannot listen on 127.0.0.1:{port}: another program uses the port. Stop that program, or configure another"
        " port. Sign in all the same, and paste the last page's address."
    )
    assert pasted.state == SUCCEEDED


async def test_a_port_that_comes_free_is_taken_while_a_sign_in_waits(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient, port: int
) -> None:
    await upstream.add_account("ann")
    with closing(socket.create_server(("127.0.0.1", port))):
        started = await start(peers)

    async def come_back() -> int:
        try:
            return (await browser.get(url)).status_code
        except httpx.ConnectError:
            return 0

    url = await consent(browser, started)
    assert await eventually(come_back, bool) == 200


@pytest.mark.parametrize("way", ["browser", "pasted"])
async def test_a_restarted_control_finishes_what_it_had_started(
    start_control: OpenControl, upstream: Upstream, browser: httpx.AsyncClient, port: int, way: str
) -> None:
    await upstream.add_account("ann")
    async with start_control() as control, open_peers(control.targets[0]) as peers:
        started = await start(peers)
        url = await consent(browser, started)
    assert not is_bound(port)

    async with start_control() as control, open_peers(control.targets[0]) as peers:
        if way == "pasted":
            await paste(peers, url, started)
        else:

            async def listens() -> bool:
                return await anyio.to_thread.run_sync(is_bound, port)

            await eventually(listens, bool)
            assert (await browser.get(url)).status_code == 200
        assert (await look(peers, started)).state == SUCCEEDED


async def test_a_control_that_died_while_it_exchanged_is_not_waited_for_long(
    start_control: OpenControl, clock: FakeClock, upstream: Upstream, browser: httpx.AsyncClient
) -> None:
    await upstream.add_account("ann")
    async with start_control() as control, open_peers(control.targets[0]) as peers:
        started = await start(peers)
        url = await consent(browser, started)
        async with control.store.begin(writing=True) as unit:  # as the claim of a control that is gone
            [(flow, _)] = await unit.flows.live(now=clock.now())
            await unit.flows.save(exchanging(flow, until=clock.now() + timedelta(seconds=25)))
        claimed = await look(peers, started)
        clock.advance(26)

        finished = await paste(peers, url, started)

    assert (claimed.state, finished.state) == (pb.FLOW_STATE_EXCHANGING, SUCCEEDED)


async def test_a_sign_in_ends_with_its_time_and_gives_the_port_back(
    peers: Peers, clock: FakeClock, upstream: Upstream, browser: httpx.AsyncClient, port: int
) -> None:
    await upstream.add_account("ann")
    started = await start(peers)
    url = await consent(browser, started)

    clock.advance(15 * 60)
    await closes(port)

    assert (await look(peers, started)).state == pb.FLOW_STATE_EXPIRED
    assert (await paste(peers, url, started)).state == pb.FLOW_STATE_EXPIRED
    assert await listed(peers) == []


async def test_a_cancelled_sign_in_adds_no_account(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient, port: int
) -> None:
    await upstream.add_account("ann")
    started = await start(peers)
    url = await consent(browser, started)

    cancelled = await peers.sign_ins.CancelFlow(pb.CancelFlowRequest(name=started.flow.name))
    pasted = await paste(peers, url, started)

    assert (cancelled.state, pasted.state) == (pb.FLOW_STATE_CANCELLED, pb.FLOW_STATE_CANCELLED)
    assert (await listed(peers), await upstream.log("token")) == ([], [])
    await closes(port)


async def test_a_sign_in_that_is_cancelled_while_its_code_is_exchanged_adds_no_account(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient
) -> None:
    await upstream.add_account("ann")
    await upstream.script("ann", sim.hold_headers(), kind="token")
    started = await start(peers)
    url = await consent(browser, started)
    pasted: list[pb.Flow] = []

    async def finish() -> None:
        pasted.append(await paste(peers, url, started))

    async with anyio.create_task_group() as finishing:
        finishing.start_soon(finish)
        await upstream.wait_for(lambda seen: seen.held == 1)
        await peers.sign_ins.CancelFlow(pb.CancelFlowRequest(name=started.flow.name))
        await upstream.release()

    assert [flow.state for flow in pasted] == [pb.FLOW_STATE_CANCELLED]
    assert await listed(peers) == []


async def test_whoever_hangs_up_while_the_code_is_exchanged_loses_nothing(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient
) -> None:
    await upstream.add_account("ann")
    await upstream.script("ann", sim.hold_headers(), kind="token")
    started = await start(peers)
    url = await consent(browser, started)

    call = peers.sign_ins.CompleteFlow(pb.CompleteFlowRequest(name=started.flow.name, callback_url=url))
    await upstream.wait_for(lambda seen: seen.held == 1)
    call.cancel()
    await upstream.release()

    flow = await eventually(lambda: look(peers, started), lambda flow: flow.state != pb.FLOW_STATE_EXCHANGING)
    assert flow.state == SUCCEEDED


async def test_what_has_succeeded_cannot_be_cancelled(
    peers: Peers, upstream: Upstream, browser: httpx.AsyncClient
) -> None:
    await upstream.add_account("ann")
    started = await start(peers)
    await paste(peers, await consent(browser, started), started)

    cancelled = await peers.sign_ins.CancelFlow(pb.CancelFlowRequest(name=started.flow.name))

    assert cancelled.state == SUCCEEDED


async def test_a_device_signs_in_once_its_code_is_typed(peers: Peers, clock: FakeClock, upstream: Upstream) -> None:
    ann = await upstream.add_account("ann")

    started = await start_device(peers)
    clock.advance(2)
    await eventually(lambda: upstream.log("device"), lambda rows: len(rows) >= 2)  # the code, and one poll in vain
    await upstream.approve_device("ann", started.user_code)
    clock.advance(2)
    flow = await eventually(lambda: look(peers, started), lambda flow: flow.state != PENDING)

    assert started.verification_url == f"{upstream.auth_url}/codex/device"
    assert (flow.state, flow.account_created) == (SUCCEEDED, True)
    assert [account.email for account in await listed(peers)] == [ann.email]


async def test_a_restarted_control_goes_on_asking_for_a_device(
    start_control: OpenControl, clock: FakeClock, upstream: Upstream
) -> None:
    await upstream.add_account("ann")
    async with start_control() as control, open_peers(control.targets[0]) as peers:
        started = await start_device(peers)
    await upstream.approve_device("ann", started.user_code)
    clock.advance(2)

    async with start_control() as control, open_peers(control.targets[0]) as peers:
        flow = await eventually(lambda: look(peers, started), lambda flow: flow.state != PENDING)

    assert flow.state == SUCCEEDED


async def test_a_device_that_is_asked_to_slow_down_does(peers: Peers, clock: FakeClock, upstream: Upstream) -> None:
    await upstream.add_account("ann")
    started = await start_device(peers)
    await upstream.approve_device("ann", started.user_code)
    await upstream.script(ANY, sim.http(400, "slow_down"), kind="device")

    clock.advance(1)  # the issuer's interval
    await eventually(lambda: upstream.log("device"), lambda rows: len(rows) == 2)
    clock.advance(5)
    too_soon = (await look(peers, started)).state

    async def a_second_later() -> pb.Flow:
        clock.advance(1)  # again and again, for it may have heard of it late
        return await look(peers, started)

    flow = await eventually(a_second_later, lambda flow: flow.state != PENDING)

    assert (too_soon, flow.state) == (PENDING, SUCCEEDED)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (sim.http(400, "access_denied"), "The sign-in was declined on the issuer's page (access_denied). Start again."),
        (sim.http(400, "expired_token"), "The code was not typed in time (expired_token). Start again."),
        (sim.http(400, "unheard of"), "The issuer refused (status 400, http_400). Start again."),
    ],
)
async def test_a_device_that_is_refused_for_good_is_told_why(
    peers: Peers, clock: FakeClock, upstream: Upstream, answer: sim.Step, told: str
) -> None:
    started = await start_device(peers)
    await upstream.script(ANY, answer, kind="device")

    clock.advance(2)
    flow = await eventually(lambda: look(peers, started), lambda flow: flow.state != PENDING)

    assert (flow.state, flow.problem) == (FAILED, told)


async def test_a_device_outlives_an_issuer_that_is_away(peers: Peers, clock: FakeClock, upstream: Upstream) -> None:
    await upstream.add_account("ann")
    started = await start_device(peers)
    await upstream.approve_device("ann", started.user_code)
    await upstream.script(ANY, sim.http(503), kind="device")

    clock.advance(2)
    between = await eventually(lambda: look(peers, started), lambda flow: bool(flow.problem))
    clock.advance(2)
    flow = await eventually(lambda: look(peers, started), lambda flow: flow.state != PENDING)

    assert between.state == PENDING
    assert (flow.state, flow.problem) == (SUCCEEDED, "")


async def test_a_device_code_that_nobody_types_expires(peers: Peers, clock: FakeClock, upstream: Upstream) -> None:
    started = await start_device(peers)

    clock.advance(15 * 60)

    assert (await look(peers, started)).state == pb.FLOW_STATE_EXPIRED


async def test_an_issuer_without_device_codes_is_told_apart(peers: Peers, upstream: Upstream) -> None:
    await upstream.script(ANY, sim.http(404, "not_found"), kind="device")

    failure = await refused(start_device(peers))

    assert failure.reason == reasons_pb2.ERROR_REASON_ISSUER_REFUSED
    assert "device_auth_unavailable" in failure.message


@pytest.mark.parametrize("way", ["browser", "device"])
async def test_another_seat_or_workspace_is_refused_and_nothing_is_written(
    peers: Peers, clock: FakeClock, upstream: Upstream, browser: httpx.AsyncClient, way: str
) -> None:
    ann = await upstream.add_account("ann", account_id="team-1")
    await upstream.add_account("ben", account_id="team-1")
    [known] = await peers.import_(ann.auth_json)
    await upstream.at_the_browser("ben")

    if way == "browser":
        started = await start(peers, account=known.name)
        await browser.get(await consent(browser, started))
    else:
        started = await start_device(peers, account=known.name)
        await upstream.approve_device("ben", started.user_code)
        clock.advance(2)
    flow = await eventually(lambda: look(peers, started), lambda flow: flow.state != PENDING)

    assert (flow.state, flow.target_account, flow.account) == (FAILED, known.name, "")
    assert flow.problem == (
        "ben@example.test of workspace team-1 signed in, but the account to sign in again is ann@example.test of"
        " workspace team-1. Nothing was changed."
    ).replace("ben@example.test", (await upstream.add_account("ben")).email).replace("ann@example.test", ann.email)
    assert await listed(peers) == [known]


async def test_the_meant_account_is_renewed(peers: Peers, upstream: Upstream, browser: httpx.AsyncClient) -> None:
    ann = await upstream.add_account("ann")
    [known] = await peers.import_(ann.auth_json)

    started = await start(peers, account=known.name)
    await browser.get(await consent(browser, started))

    flow = await look(peers, started)
    assert (flow.state, flow.account, flow.account_created) == (SUCCEEDED, known.name, False)


async def test_what_is_not_there_is_told(peers: Peers) -> None:
    no_account = await refused(start(peers, account="accounts/gone"))
    no_flow = await refused(peers.sign_ins.GetFlow(pb.GetFlowRequest(name="oauthFlows/gone")))
    no_name = await refused(peers.sign_ins.GetFlow(pb.GetFlowRequest(name="gone")))

    assert no_account.reason == reasons_pb2.ERROR_REASON_ACCOUNT_NOT_FOUND
    assert no_flow.reason == reasons_pb2.ERROR_REASON_FLOW_NOT_FOUND
    assert no_name.reason == reasons_pb2.ERROR_REASON_INVALID_ARGUMENT


async def test_sign_ins_without_end_are_refused(peers: Peers) -> None:
    for _ in range(16):
        await start(peers)

    failure = await refused(start(peers))

    assert failure.reason == reasons_pb2.ERROR_REASON_TOO_MANY_FLOWS


async def test_an_exported_login_is_the_file_that_was_imported(peers: Peers, upstream: Upstream) -> None:
    ann = await upstream.add_account("ann")
    [account] = await peers.import_(ann.auth_json)

    exported = await peers.sign_ins.ExportAccount(pb.ExportAccountRequest(name=account.name))

    document, imported = json.loads(exported.content), json.loads(ann.auth_json)
    assert exported.file_name == "auth.json"
    assert (document["auth_mode"], document["OPENAI_API_KEY"]) == ("chatgpt", None)
    assert document["tokens"] == imported["tokens"]
    assert document["last_refresh"].endswith("Z")
    assert [again.name for again in await peers.import_(exported.content)] == [account.name]


async def test_no_secret_of_a_sign_in_reaches_a_log_a_page_an_error_or_the_disk(
    start_control: OpenControl, clock: FakeClock, upstream: Upstream, browser: httpx.AsyncClient, tmp_path: Path
) -> None:
    ann = await upstream.add_account("ann")
    said: list[str] = []
    structlog.reset_defaults()
    with capture_logs() as logged:
        async with start_control() as control, open_peers(control.targets[0]) as peers:
            started, device = await start(peers), await start_device(peers)
            url = await consent(browser, started)
            await upstream.script("ann", sim.http(503), kind="token")
            said.append((await browser.get(url)).text)
            said.append((await refused(paste(peers, url.replace("state=", "state=x"), started))).message)
            said.append((await browser.get(url)).text)
            await upstream.approve_device("ann", device.user_code)
            clock.advance(2)
            said.append(str(await eventually(lambda: look(peers, device), lambda flow: flow.state != PENDING)))
            said.append(str(await look(peers, started)))
            on_disk = everything_in(tmp_path)
            exported = await peers.sign_ins.ExportAccount(pb.ExportAccountRequest(name=(await listed(peers))[0].name))

    tokens = json.loads(exported.content)["tokens"]
    query = parse_qs(urlsplit(url).query)
    grants = [row.body for row in await upstream.log("token")]
    secrets = {tokens["access_token"], tokens["refresh_token"], tokens["id_token"], ann.refresh_token}
    secrets |= {query["code"][0], query["state"][0]} | {grant["code_verifier"] for grant in grants}
    secrets |= {row.body["device_auth_id"] for row in await upstream.log("device") if "device_auth_id" in row.body}
    shown = "".join(said) + repr(logged)
    assert len(logged) > 3
    assert [secret for secret in secrets if secret in shown] == []
    assert [secret for secret in secrets if secret.encode() in on_disk] == []
