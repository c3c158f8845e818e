"""A worker's tickets: claimed, reported, lapsed, refused."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from codex_lb.api.admin.v1 import account_service_pb2 as accounts_pb
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.api.worker.v1 import refresh_pb2 as pb
from codex_lb.control.rpcs.instants import instant, wire_instant
from tests.integration.control.conftest import OpenControl
from tests.integration.control.peers import Peers, open_peers, refused
from tests.support.clock import NOON, FakeClock
from tests.support.logins import access_token, auth_file

USAGE, MODELS = pb.TICKET_KIND_USAGE, pb.TICKET_KIND_MODELS


async def test_a_new_account_is_due_at_once_for_usage_and_its_plan_for_models(peers: Peers) -> None:
    await peers.import_(auth_file("ann"), auth_file("ben"), auth_file("eve", plan="pro"))

    tickets = await peers.claim()

    assert sorted(t.kind for t in tickets) == [USAGE, USAGE, USAGE, MODELS, MODELS]
    assert len({t.epoch for t in tickets}) == 5
    assert all(t.start_after == Duration() and t.ttl == Duration(seconds=60) for t in tickets)


async def test_a_ticket_shows_the_access_token_and_never_the_refresh_token(peers: Peers) -> None:
    await peers.import_(auth_file("ann"))

    [ticket] = await peers.claim(USAGE)

    assert ticket.credential == pb.TicketCredential(
        access_token=access_token("ann"), chatgpt_account_id="ws-1", generation=1
    )


async def test_reported_usage_is_shown_and_the_account_is_due_again_a_period_later(
    peers: Peers, clock: FakeClock
) -> None:
    [account] = await peers.import_(auth_file("ann"))
    [ticket] = await peers.claim(USAGE)
    clock.advance(3)

    await _report(peers, ticket, usage=_usage(primary=40.0, weekly=10.0), age=Duration(seconds=2))
    shown = await peers.accounts.GetAccount(accounts_pb.GetAccountRequest(name=account.name))

    assert [(w.window, w.used_percent) for w in shown.windows] == [("primary", 40.0), ("secondary", 10.0)]
    assert instant(shown, "usage_observed_at") == NOON + timedelta(seconds=1)
    assert await peers.claim(USAGE) == []
    clock.advance(56)
    assert [t.account_id for t in await peers.claim(USAGE)] == [ticket.account_id]


async def test_tickets_are_handed_out_a_little_before_they_are_due(peers: Peers, clock: FakeClock) -> None:
    await peers.import_(auth_file("ann"))
    [first] = await peers.claim(USAGE)
    await _report(peers, first, usage=_usage(primary=1.0))
    clock.advance(57)

    [ticket] = await peers.claim(USAGE)

    assert ticket.start_after == Duration(seconds=3)


async def test_a_plan_that_upstream_names_is_kept(start: OpenControl) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers:
        await peers.import_(auth_file("ann", plan="plus"))
        [ticket] = await peers.claim(USAGE)
        await _report(peers, ticket, usage=_usage(plan="Pro", primary=1.0))

    async with start() as control, open_peers(control.targets[0]) as peers:
        [shown] = (await peers.accounts.ListAccounts(accounts_pb.ListAccountsRequest())).accounts

    assert (shown.plan, [w.used_percent for w in shown.windows]) == ("pro", [1.0])


async def test_a_dead_workers_ticket_is_given_to_another_and_its_late_report_refused(
    peers: Peers, clock: FakeClock
) -> None:
    await peers.import_(auth_file("ann"))
    [first] = await peers.claim(USAGE)
    assert await peers.claim(USAGE) == []

    clock.advance(60)
    [second] = await peers.claim(USAGE)
    failure = await refused(_report(peers, first, usage=_usage(primary=99.0)))
    await _report(peers, second, usage=_usage(primary=1.0))

    assert second.epoch > first.epoch
    assert failure.reason == reasons_pb2.ERROR_REASON_STALE_EPOCH


async def test_a_ticket_is_reported_once(peers: Peers) -> None:
    await peers.import_(auth_file("ann"))
    [ticket] = await peers.claim(USAGE)
    await _report(peers, ticket, usage=_usage(primary=1.0))

    failure = await refused(_report(peers, ticket, usage=_usage(primary=1.0)))

    assert failure.reason == reasons_pb2.ERROR_REASON_STALE_EPOCH


async def test_a_rejected_login_is_taken_out_and_a_passing_failure_changes_nothing(
    peers: Peers, clock: FakeClock
) -> None:
    await peers.import_(auth_file("ann"), auth_file("ben"))
    ann, ben = await peers.claim(USAGE)

    await _report(peers, ann, failure=pb.TicketFailure(code="http_401", status=401, credential_generation=1))
    await _report(peers, ben, failure=pb.TicketFailure(code="timeout", is_transient=True, credential_generation=1))

    listed = (await peers.accounts.ListAccounts(accounts_pb.ListAccountsRequest())).accounts
    status = {account.name.removeprefix("accounts/"): account.status for account in listed}
    assert status[ann.account_id] == accounts_pb.ACCOUNT_STATUS_REAUTH_REQUIRED
    assert status[ben.account_id] == accounts_pb.ACCOUNT_STATUS_ACTIVE
    clock.advance(60)
    assert [t.account_id for t in await peers.claim(USAGE)] == [ben.account_id]


async def test_what_an_old_login_failed_with_is_not_held_against_the_new_one(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))
    await peers.import_(auth_file("ann", issued=1))
    [ticket] = await peers.claim(USAGE)

    await _report(peers, ticket, failure=pb.TicketFailure(code="http_401", status=401, credential_generation=1))

    shown = await peers.accounts.GetAccount(accounts_pb.GetAccountRequest(name=account.name))
    assert shown.status == accounts_pb.ACCOUNT_STATUS_ACTIVE


async def test_a_paused_account_is_left_alone(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))
    await peers.accounts.PauseAccount(accounts_pb.PauseAccountRequest(name=account.name))

    assert await peers.claim() == []


async def test_an_empty_model_list_does_not_empty_the_catalog(peers: Peers, clock: FakeClock) -> None:
    await peers.import_(auth_file("ann"))
    [ticket] = await peers.claim(MODELS)
    await _report(peers, ticket, models=pb.ModelsResult(models=[pb.ListedModel(slug="m", entry_json=b"{}")]))
    clock.advance(300)
    [ticket] = await peers.claim(MODELS)

    await _report(peers, ticket, models=pb.ModelsResult())

    assert (await peers.status()).models == 1


async def test_a_report_that_cannot_be_understood_is_refused_with_the_field(peers: Peers) -> None:
    await peers.import_(auth_file("ann"))
    [ticket] = await peers.claim(USAGE)

    empty = await refused(_report(peers, ticket))
    nan = await refused(_report(peers, ticket, usage=_usage(primary=float("nan"))))

    assert (empty.reason, nan.reason) == (reasons_pb2.ERROR_REASON_INVALID_ARGUMENT,) * 2
    assert nan.message == "windows.used_percent is not a number."


async def test_a_worker_gets_no_more_than_it_asks_for_and_is_told_when_to_come_back(peers: Peers) -> None:
    nobody_due = await peers.worker.ClaimTickets(pb.ClaimTicketsRequest(kinds=[USAGE], tickets_max=10))
    await peers.import_(*(auth_file(f"user-{i}") for i in range(5)))

    some = await peers.worker.ClaimTickets(pb.ClaimTicketsRequest(kinds=[USAGE], tickets_max=3))
    rest = await peers.worker.ClaimTickets(pb.ClaimTicketsRequest(kinds=[USAGE], tickets_max=3))

    assert (len(nobody_due.tickets), len(some.tickets), len(rest.tickets)) == (0, 3, 2)
    assert nobody_due.next_claim_in.seconds == 1
    assert some.next_claim_in.ToMilliseconds() == 100
    assert instant(await peers.status(), "worker_seen_at") == NOON


async def _report(
    peers: Peers,
    ticket: pb.Ticket,
    *,
    usage: pb.UsageResult | None = None,
    models: pb.ModelsResult | None = None,
    failure: pb.TicketFailure | None = None,
    age: Duration | None = None,
) -> None:
    request = pb.ReportTicketRequest(
        worker_id="worker-1",
        ticket_id=ticket.ticket_id,
        epoch=ticket.epoch,
        usage=usage,
        models=models,
        failure=failure,
        age=age,
    )
    await peers.worker.ReportTicket(request)


def _usage(*, plan: str = "plus", primary: float, weekly: float | None = None) -> pb.UsageResult:
    windows = [_window("primary", primary, 18_000)]
    if weekly is not None:
        windows.append(_window("secondary", weekly, 604_800))
    return pb.UsageResult(plan=plan, windows=windows, credential_generation=1)


def _window(name: str, used_percent: float, length_s: int) -> pb.UsageWindow:
    return pb.UsageWindow(
        window=name,
        used_percent=used_percent,
        length=Duration(seconds=length_s),
        resets_at=wire_instant(NOON + timedelta(seconds=length_s)),
    )
