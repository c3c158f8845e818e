"""What an operator is told of what was asked and what it cost."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from codex_lb.api.admin.v1 import report_service_pb2 as reports_pb
from codex_lb.api.admin.v1 import request_log_service_pb2 as log_pb
from codex_lb.api.admin.v1.report_service_pb2_grpc import ReportServiceStub
from codex_lb.api.admin.v1.request_log_service_pb2_grpc import RequestLogServiceStub
from codex_lb.api.control.v1 import leases_pb2
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.control.app import Control, open_control
from codex_lb.control.assembly.timing import Timing
from codex_lb.control.domain.lease import Blame, Decision, Fault, Outcome, Timings, TurnReport
from codex_lb.control.rpcs.instants import wire_instant
from codex_lb.control.settings import ControlSettings
from tests.integration.control.peers import Peers, eventually, open_peers, refused
from tests.support.clock import NOON, FakeClock
from tests.unit.control.leases import lease, report, settled


async def test_a_request_is_shown_with_its_attempts_its_choice_and_where_the_time_went(
    control: Control, peers: Peers
) -> None:
    line = replace(report("t"), timings=Timings(0.3, 0.4, 0.6, 1.0, 3.0), cost_micro_usd=920, cost_source="list")
    chosen = Decision("round_robin", "", 3, 2, (), {"no_slot": 1}, waited_s=0.2)
    held = replace(lease("l"), turn_id=line.turn_id, decision=chosen)
    failed = replace(settled(held, outcome=Outcome.BROKEN), fault=Fault("reset", Blame.NETWORK, 0, "gone"))
    async with control.store.begin(writing=True) as unit:
        await unit.turns.record([failed], [line])

    found = await log(peers).GetRequest(log_pb.GetRequestRequest(name="requests/t"))
    unknown = await refused(log(peers).GetRequest(log_pb.GetRequestRequest(name="requests/x")))

    phases = {field.name: round(value.ToTimedelta().total_seconds(), 3) for field, value in found.phases.ListFields()}
    assert phases == {
        "queue": 0.2,
        "lease": 0.1,
        "connect": 0.1,
        "first_byte": 0.2,
        "first_output": 0.4,
        "answer": 2.0,
        "total": 3.0,
    }
    [attempt] = found.attempts
    assert (attempt.account, attempt.fault.code, dict(attempt.decision.passed_over_counts)) == (
        "accounts/a",
        "reset",
        {"no_slot": 1},
    )
    assert (found.request.cost_micro_usd, found.request.usage.total_tokens) == (920, 120)
    assert unknown.reason == reasons_pb2.ERROR_REASON_REQUEST_NOT_FOUND


async def test_the_log_is_listed_in_pages_and_by_what_is_asked(control: Control, peers: Peers) -> None:
    await keep(control, *(replace(report(f"t{n}"), started_at=NOON - timedelta(minutes=n)) for n in range(5)))
    await keep(control, replace(report("limited"), account_id="b", outcome=Outcome.LIMITED))

    first = await log(peers).ListRequests(log_pb.ListRequestsRequest(page_size=4))
    rest = await log(peers).ListRequests(log_pb.ListRequestsRequest(page_size=4, page_token=first.next_page_token))
    limited = await log(peers).ListRequests(
        log_pb.ListRequestsRequest(accounts=["accounts/b"], outcomes=[leases_pb2.OUTCOME_LIMITED])
    )
    wrong = await refused(log(peers).ListRequests(log_pb.ListRequestsRequest(page_token="x")))

    names = [one.name.removeprefix("requests/") for page in (first, rest) for one in page.requests]
    assert names == ["t0", "limited", "t1", "t2", "t3", "t4"]
    assert [one.name for one in limited.requests] == ["requests/limited"]
    assert wrong.reason == reasons_pb2.ERROR_REASON_INVALID_ARGUMENT


async def test_reports_add_up_by_time_and_by_name(control: Control, peers: Peers) -> None:
    old = replace(report("old"), started_at=NOON - timedelta(days=3), account_id="b", cost_micro_usd=1_000)
    await keep(control, old, replace(report("new"), cost_micro_usd=50), replace(report("free"), api_key_id="k"))
    ask = reports(peers).GetReport

    by_day = await ask(reports_pb.GetReportRequest(since=wire_instant(NOON - timedelta(days=3))))
    by_account = await ask(reports_pb.GetReportRequest(group_by=reports_pb.REPORT_GROUP_ACCOUNT))
    of_key = await ask(reports_pb.GetReportRequest(group_by=reports_pb.REPORT_GROUP_HOUR, api_key_ids=["k"]))

    assert [row.sums.turns for row in by_day.rows] == [1, 0, 0, 2]
    assert [(row.name, row.sums.cost_micro_usd) for row in by_account.rows] == [
        ("accounts/b", 1_000),
        ("accounts/a", 50),
    ]
    assert (by_account.total.turns, by_account.total.unpriced_turns) == (3, 1)
    assert sum(row.sums.turns for row in of_key.rows) == of_key.total.turns == 1


async def test_the_overview_sets_lately_beside_before_once_there_was_a_before(control: Control, peers: Peers) -> None:
    await keep(control, report("now"), replace(report("yesterday"), started_at=NOON - timedelta(hours=30)))

    without = await reports(peers).GetOverview(reports_pb.GetOverviewRequest(days=1))
    await keep(control, replace(report("first"), started_at=NOON - timedelta(hours=48)))
    overview = await reports(peers).GetOverview(reports_pb.GetOverviewRequest(days=1))

    assert not without.HasField("before")
    assert (overview.sums.turns, overview.before.turns) == (1, 1)
    assert [bucket.sums.turns for bucket in overview.buckets] == [0] * 23 + [1]


async def test_trends_have_28_days_for_every_account_and_key(control: Control, peers: Peers) -> None:
    first_day = NOON.replace(hour=0) - timedelta(days=27)
    lines = [replace(report(f"t{n}"), started_at=first_day + timedelta(days=n), cost_micro_usd=n) for n in range(28)]
    before = replace(report("before"), started_at=first_day - timedelta(seconds=1), account_id="gone")
    await keep(control, before, *lines, replace(report("other"), account_id="b", api_key_id="k"))
    ask = reports(peers).ListTrends

    by_account = await ask(reports_pb.ListTrendsRequest(group_by=reports_pb.REPORT_GROUP_ACCOUNT))
    by_key = await ask(reports_pb.ListTrendsRequest(group_by=reports_pb.REPORT_GROUP_API_KEY, days=2))

    assert by_account.since == wire_instant(first_day)
    assert [(trend.name, len(trend.days), trend.total.turns) for trend in by_account.trends] == [
        ("accounts/a", 28, 28),
        ("accounts/b", 28, 1),
    ]
    assert [day.cost_micro_usd for day in by_account.trends[0].days] == list(range(28))
    assert [(trend.name, [day.turns for day in trend.days]) for trend in by_key.trends] == [("", [1, 1]), ("k", [0, 1])]


@pytest.mark.parametrize(
    "wrong",
    [
        reports_pb.GetReportRequest(time_zone="Nowhere"),
        reports_pb.GetReportRequest(since=wire_instant(NOON), until=wire_instant(NOON)),
        reports_pb.GetReportRequest(since=wire_instant(NOON - timedelta(days=800))),
        reports_pb.GetReportRequest(
            since=wire_instant(NOON - timedelta(days=40)), group_by=reports_pb.REPORT_GROUP_HOUR
        ),
        reports_pb.GetReportRequest(accounts=["nobody"]),
    ],
)
async def test_a_question_that_cannot_be_answered_is_refused(peers: Peers, wrong: reports_pb.GetReportRequest) -> None:
    failure = await refused(reports(peers).GetReport(wrong))

    assert failure.reason == reasons_pb2.ERROR_REASON_INVALID_ARGUMENT


async def test_lines_past_their_retention_go_and_their_sums_stay(tmp_path: Path, clock: FakeClock) -> None:
    settings = ControlSettings(data_dir=tmp_path, request_log_retention_days=1)
    start = partial(open_control, settings, clock, listen=[f"unix:{tmp_path / 'c.sock'}"])
    async with start() as control:
        await keep(control, report("old"), replace(report("new"), started_at=NOON + timedelta(hours=1)))
    clock.advance(86_400 + 60)

    async with start(timing=Timing(retention_period_s=0.01)) as control:

        async def lines() -> list[str]:
            async with control.store.begin(writing=False) as unit:
                return [t for t in ("old", "new") if await unit.turns.report(report(t).turn_id) is not None]

        assert await eventually(lines, lambda found: found != ["old", "new"]) == ["new"]
        async with open_peers(control.targets[0]) as peers:
            found = await reports(peers).GetReport(reports_pb.GetReportRequest())
    assert found.total.turns == 2


def log(peers: Peers) -> RequestLogServiceStub:
    """An operator who looks at the request log."""
    return RequestLogServiceStub(peers.channel)


def reports(peers: Peers) -> ReportServiceStub:
    """An operator who wants to know what was spent."""
    return ReportServiceStub(peers.channel)


async def keep(control: Control, *lines: TurnReport) -> None:
    """Puts lines into the log."""
    async with control.store.begin(writing=True) as unit:
        await unit.turns.record([], lines)
