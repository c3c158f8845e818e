"""An operator has accounts probed: what a worker found is learned, and told in words."""

from __future__ import annotations

import asyncio

import pytest

from codex_lb.api.admin.v1 import account_service_pb2 as pb
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.api.worker.v1 import refresh_pb2
from codex_lb.control.rpcs.instants import wire_instant, wire_seconds
from tests.integration.control.peers import Peers, eventually, refused
from tests.support.clock import NOON, FakeClock
from tests.support.logins import auth_file

PROBE, USAGE = refresh_pb2.TICKET_KIND_PROBE, refresh_pb2.TICKET_KIND_USAGE
SERVED = refresh_pb2.ProbeResult(served=True, status=200, took=wire_seconds(1.25))
REFUSED = refresh_pb2.ProbeResult(
    status=429, code="usage_limit_reached", message="m", resets_at=wire_instant(NOON.replace(year=NOON.year + 1))
)


async def test_an_account_that_upstream_refused_for_long_is_offered_again_once_a_probe_was_served(
    peers: Peers, clock: FakeClock
) -> None:
    [account] = await peers.import_(auth_file("ann"))
    await probed(peers, account, probe=REFUSED)
    clock.advance(30)

    answer = await probed(peers, account, probe=SERVED)

    assert answer.status_before == pb.ACCOUNT_STATUS_RATE_LIMITED
    assert (answer.outcome, answer.summary) == (pb.PROBE_OUTCOME_SERVED, "It served, in 1.2 s.")
    assert (answer.account.status, answer.model) == (pb.ACCOUNT_STATUS_ACTIVE, "gpt-5.5")
    assert [ticket.kind for ticket in await peers.claim(USAGE, PROBE)] == [USAGE]


async def test_a_probe_that_is_refused_takes_the_account_out_until_then(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))

    answer = await probed(peers, account, probe=REFUSED)

    assert (answer.outcome, answer.http_status, answer.code) == (
        pb.PROBE_OUTCOME_REFUSED,
        429,
        "usage_limit_reached",
    )
    assert answer.account.status == pb.ACCOUNT_STATUS_RATE_LIMITED
    assert answer.account.status_until == REFUSED.resets_at


async def test_a_login_that_upstream_does_not_take_is_taken_out(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))
    rejected = refresh_pb2.ProbeResult(status=401, code="token_expired", credential_generation=1)

    answer = await probed(peers, account, probe=rejected)

    assert answer.outcome == pb.PROBE_OUTCOME_LOGIN_REJECTED
    assert answer.account.status == pb.ACCOUNT_STATUS_REAUTH_REQUIRED


async def test_what_is_not_the_accounts_fault_is_told_and_not_held_against_it(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))
    failure = refresh_pb2.TicketFailure(code="timeout", message="probing: no answer within 30 s", is_transient=True)

    answer = await probed(peers, account, failure=failure)

    assert answer.outcome == pb.PROBE_OUTCOME_UNDECIDED
    assert answer.summary == "Probing: no answer within 30 s. That says nothing about the account."
    assert answer.account.status == pb.ACCOUNT_STATUS_ACTIVE


async def test_the_model_is_the_one_that_was_named_or_the_first_of_the_accounts_plan(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))
    [listing] = await peers.claim(refresh_pb2.TICKET_KIND_MODELS)
    models = refresh_pb2.ModelsResult(models=[refresh_pb2.ListedModel(slug="gpt-6", entry_json=b"{}")])
    await report(peers, listing, models=models)

    first = await probed(peers, account, probe=SERVED)
    named = await probed(peers, account, probe=SERVED, model="gpt-6-mini")

    assert (first.model, named.model) == ("gpt-6", "gpt-6-mini")


async def test_a_paused_account_is_not_probed(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))
    await peers.accounts.PauseAccount(pb.PauseAccountRequest(name=account.name))

    failure = await refused(peers.accounts.ProbeAccount(pb.ProbeAccountRequest(name=account.name)))

    assert failure.reason == reasons_pb2.ERROR_REASON_ACCOUNT_STATE_CONFLICT
    assert failure.message == "The account is paused, so nothing is sent on it. Resume it first."
    assert await peers.claim(PROBE) == []


@pytest.mark.parametrize(("kind", "given"), [(PROBE, {"usage": refresh_pb2.UsageResult()}), (USAGE, {"probe": SERVED})])
async def test_a_result_of_another_kind_is_refused(
    peers: Peers, kind: refresh_pb2.TicketKind.ValueType, given: dict[str, object]
) -> None:
    [account] = await peers.import_(auth_file("ann"))
    asking = asyncio.create_task(ask(peers, account))
    [ticket] = await eventually(lambda: peers.claim(kind), bool)

    failure = await refused(report(peers, ticket, **given))

    asking.cancel()
    assert failure.reason == reasons_pb2.ERROR_REASON_INVALID_ARGUMENT


async def probed(peers: Peers, account: pb.Account, *, model: str = "", **given: object) -> pb.ProbeAccountResponse:
    """An operator asks, a worker tells, and the operator is told."""
    asking = asyncio.create_task(ask(peers, account, model=model))
    [ticket] = await eventually(lambda: peers.claim(PROBE), bool)
    assert f"accounts/{ticket.account_id}" == account.name
    await report(peers, ticket, **given)
    answer = await asking
    assert answer.model == ticket.model
    return answer


async def ask(peers: Peers, account: pb.Account, *, model: str = "") -> pb.ProbeAccountResponse:
    return await peers.accounts.ProbeAccount(pb.ProbeAccountRequest(name=account.name, model=model))


async def report(peers: Peers, ticket: refresh_pb2.Ticket, **given: object) -> None:
    request = refresh_pb2.ReportTicketRequest(worker_id="worker-1", ticket_id=ticket.ticket_id, epoch=ticket.epoch)
    for name, result in given.items():
        getattr(request, name).CopyFrom(result)
    await peers.worker.ReportTicket(request)
