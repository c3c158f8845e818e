"""What usage tells, taken in: quotas, credits, plans, workspaces, and a week that begins early."""

from __future__ import annotations

from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration

from codex_lb.api.admin.v1 import account_service_pb2 as accounts_pb
from codex_lb.api.control.v1 import leases_pb2
from codex_lb.api.worker.v1 import refresh_pb2 as pb
from codex_lb.control.rpcs.instants import wire_instant
from tests.integration.control.peers import Peers, held
from tests.support.clock import NOON, FakeClock
from tests.support.logins import auth_file

ACCOUNTS = 20
WEEK_S = 604_800
ACTIVE, LIMITED = accounts_pb.ACCOUNT_STATUS_ACTIVE, accounts_pb.ACCOUNT_STATUS_RATE_LIMITED


async def test_quotas_of_models_and_credits_are_shown_beside_the_main_windows(peers: Peers) -> None:
    await peers.import_(auth_file("ann"))
    spark = pb.AdditionalQuota(limit_name="codex_spark", windows=[_window("primary", 100.0, 18_000)])

    await _usage(peers, additional_quotas=[spark], has_credits=True, credits_balance="12.5")

    [shown] = await _listed(peers)
    assert shown.status == ACTIVE
    assert [w.used_percent for w in shown.windows] == [1.0]
    assert [(q.limit_name, q.windows[0].used_percent) for q in shown.quotas] == [("codex_spark", 100.0)]
    assert (shown.credits.has_credits, shown.credits.balance) == (True, "12.5")


async def test_a_paid_plan_is_lost_only_when_two_samples_in_a_row_say_so(peers: Peers, clock: FakeClock) -> None:
    await peers.import_(auth_file("ann", plan="plus"))

    plans = []
    for plan in ("free", "plus", "free", "free"):
        await _usage(peers, plan=plan)
        plans.append((await _listed(peers))[0].plan)
        clock.advance(60)

    assert plans == ["plus", "plus", "plus", "free"]


async def test_a_new_login_between_two_samples_starts_the_count_anew(peers: Peers, clock: FakeClock) -> None:
    await peers.import_(auth_file("ann", plan="plus"))
    await _usage(peers, plan="free")
    await peers.import_(auth_file("ann", plan="plus", issued=1))

    await _usage(peers, plan="free", generation=2)

    assert (await _listed(peers))[0].plan == "plus"


async def test_usage_of_another_workspace_is_not_taken_for_the_accounts_own(peers: Peers, clock: FakeClock) -> None:
    await peers.import_(auth_file("ann", workspace="ws-1"))

    await _usage(peers, workspace_id="ws-2", plan="pro")
    [foreign] = await _listed(peers)
    clock.advance(60)
    await _usage(peers, workspace_id="ws-1")
    [own] = await _listed(peers)

    assert (foreign.plan, len(foreign.windows)) == ("plus", 0)
    assert len(own.windows) == 1


async def test_a_pool_whose_week_begins_early_serves_again_within_a_period_untouched(
    peers: Peers, clock: FakeClock
) -> None:
    await peers.import_(*(auth_file(f"user-{n}") for n in range(ACCOUNTS)))
    await _refuse_all(peers, until=NOON + timedelta(days=4), now=clock.now())
    clock.advance(86_400)
    assert {account.status for account in await _listed(peers)} == {LIMITED}

    clock.advance(60)
    fresh = _window("secondary", 0.0, WEEK_S, resets_at=clock.now() + timedelta(seconds=WEEK_S))
    for ticket in await peers.claim(pb.TICKET_KIND_USAGE):
        await _report(peers, ticket, pb.UsageResult(plan="plus", windows=[fresh], credential_generation=1))

    assert {account.status for account in await _listed(peers)} == {ACTIVE}


async def test_faults_that_are_not_the_accounts_leave_every_account_in_service(peers: Peers, clock: FakeClock) -> None:
    await peers.import_(*(auth_file(f"user-{n}") for n in range(ACCOUNTS)))
    blames = [b for b in leases_pb2.Blame.values() if b != leases_pb2.BLAME_ACCOUNT]

    async with peers.attach() as gateway:
        await gateway.heartbeat(clock.now())
        for blame in blames * ACCOUNTS:
            granted = await gateway.acquire()
            fault = leases_pb2.Fault(code="server_is_overloaded", blame=blame, status=503)
            await gateway.settle(
                leases_pb2.Settlement(
                    lease=held(granted, granted_at=clock.now()),
                    outcome=leases_pb2.OUTCOME_BROKEN,
                    fault=fault,
                    ended_at=wire_instant(clock.now()),
                )
            )

    assert {account.status for account in await _listed(peers)} == {ACTIVE}


async def _refuse_all(peers: Peers, *, until: datetime, now: datetime) -> None:
    """Every account is used until upstream refuses it."""
    async with peers.attach() as gateway:
        await gateway.heartbeat(now)
        for _ in range(ACCOUNTS):
            granted = await gateway.acquire()
            await gateway.settle(
                leases_pb2.Settlement(
                    lease=held(granted, granted_at=now),
                    outcome=leases_pb2.OUTCOME_LIMITED,
                    fault=leases_pb2.Fault(code="usage_limit_reached", blame=leases_pb2.BLAME_ACCOUNT, status=429),
                    evidence=[leases_pb2.Evidence(observed_at=wire_instant(now), refused_until=wire_instant(until))],
                    ended_at=wire_instant(now),
                )
            )


async def _listed(peers: Peers) -> list[accounts_pb.Account]:
    return list((await peers.accounts.ListAccounts(accounts_pb.ListAccountsRequest())).accounts)


async def _usage(
    peers: Peers,
    *,
    plan: str = "plus",
    workspace_id: str = "",
    generation: int = 1,
    additional_quotas: list[pb.AdditionalQuota] | None = None,
    has_credits: bool = False,
    credits_balance: str = "",
) -> None:
    """A worker fetches the usage of the only account."""
    [ticket] = await peers.claim(pb.TICKET_KIND_USAGE)
    await _report(
        peers,
        ticket,
        pb.UsageResult(
            plan=plan,
            windows=[_window("primary", 1.0, 18_000)],
            workspace_id=workspace_id,
            credential_generation=generation,
            additional_quotas=additional_quotas,
            has_credits=has_credits,
            credits_balance=credits_balance,
        ),
    )


async def _report(peers: Peers, ticket: pb.Ticket, usage: pb.UsageResult) -> None:
    request = pb.ReportTicketRequest(worker_id="worker-1", ticket_id=ticket.ticket_id, epoch=ticket.epoch, usage=usage)
    await peers.worker.ReportTicket(request)


def _window(name: str, used_percent: float, length_s: int, *, resets_at: datetime | None = None) -> pb.UsageWindow:
    return pb.UsageWindow(
        window=name,
        used_percent=used_percent,
        length=Duration(seconds=length_s),
        resets_at=wire_instant(resets_at or NOON + timedelta(seconds=length_s)),
    )
