"""A worker between a real gRPC control stand-in and the simulated upstream: claim, fetch, report."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, timedelta
from importlib.metadata import version

import anyio
import pytest
from structlog.testing import capture_logs

from codex_lb.api.errors.v1.reasons_pb2 import ErrorReason
from codex_lb.api.worker.v1 import refresh_pb2 as wire
from codex_lb.kit.health import Health
from codex_lb.kit.service import Stop, run_all
from codex_lb.usage_worker.app import WorkerService
from codex_lb.usage_worker.settings import WorkerSettings
from tests.integration.usage_worker.conftest import FastTime, StartWorker
from tests.integration.usage_worker.control_stand_in import ControlStandIn
from tests.support.upstream import Upstream, hang_headers, hold_headers, http, rate_limited, refuse, unauthorized

USAGE, MODELS, ROTATION = wire.TICKET_KIND_USAGE, wire.TICKET_KIND_MODELS, wire.TICKET_KIND_ROTATION
pytestmark = pytest.mark.usefixtures("listening")


async def test_a_usage_ticket_ends_with_the_accounts_windows(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    control.hand_out(USAGE, access_token=account.access_token, chatgpt_account_id=account.account_id)

    async with start_worker():
        report = await control.report_of("t1")

    assert (report.epoch, report.worker_id) == (7, control.claims[0].worker_id)
    assert (report.usage.plan, report.usage.credential_generation) == ("plus", 3)
    assert [(w.window, w.used_percent, w.length.seconds) for w in report.usage.windows] == [
        ("primary", 12, 18_000),
        ("secondary", 34, 604_800),
    ]
    assert all(window.resets_at.seconds > 0 for window in report.usage.windows)


async def test_a_plan_that_has_only_a_week_reports_a_weekly_window(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a", plan="weekly")
    control.hand_out(USAGE, access_token=account.access_token)

    async with start_worker():
        report = await control.report_of("t1")

    assert [window.window for window in report.usage.windows] == ["secondary"]


async def test_upstream_sees_who_we_are_and_which_account_is_meant(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    control.hand_out(USAGE, access_token=account.access_token, chatgpt_account_id=account.account_id)

    async with start_worker():
        await control.report_of("t1")

    [seen] = await upstream.log("usage")
    assert seen.header("user-agent") == f"codex-lb/{version('codex-lb')}"
    assert seen.header("chatgpt-account-id") == account.account_id
    assert seen.header("accept") == "application/json"
    assert (seen.header("x-request-id") or "").startswith("req_")
    assert await upstream.violations() == []


async def test_an_account_without_an_upstream_id_is_asked_for_without_the_header(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    control.hand_out(USAGE, access_token=account.access_token, chatgpt_account_id="")

    async with start_worker():
        await control.report_of("t1")

    [seen] = await upstream.log("usage")
    assert seen.header("chatgpt-account-id") is None


async def test_a_models_ticket_ends_with_upstreams_entries_byte_by_byte(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    await upstream.set_models("a", {"slug": "gpt-9", "unheard_of": {"é": [1.5, None]}}, {"display_name": "no slug"})
    control.hand_out(MODELS, access_token=account.access_token)

    async with start_worker(model_registry_client_version="0.166.0"):
        report = await control.report_of("t1")

    [model] = report.models.models
    [seen] = await upstream.log("models")
    assert (model.slug, json.loads(model.entry_json)) == ("gpt-9", {"slug": "gpt-9", "unheard_of": {"é": [1.5, None]}})
    assert model.entry_json in seen.answer
    assert seen.query == "client_version=0.166.0"


async def test_a_rotation_ticket_ends_with_a_pair_that_works(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    control.hand_out(ROTATION, refresh_token=account.refresh_token)

    async with start_worker():
        rotated = (await control.report_of("t1")).rotation
        control.hand_out(USAGE, ticket_id="t2", access_token=rotated.access_token)
        usage = await control.report_of("t2")

    assert rotated.refresh_token not in {"", account.refresh_token}
    assert rotated.id_token
    assert usage.usage.plan == "plus"


async def test_a_spent_refresh_token_is_reported_for_good_and_sent_once(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    await upstream.revoke("a")
    control.hand_out(ROTATION, refresh_token=account.refresh_token)

    async with start_worker():
        failure = (await control.report_of("t1")).failure

    assert (failure.code, failure.status, failure.is_transient) == ("refresh_token_invalidated", 401, False)
    assert failure.credential_generation == 3
    assert len(await upstream.log("token")) == 1


async def test_a_rotation_that_broke_off_is_not_tried_again(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", refuse(), kind="token")
    control.hand_out(ROTATION, refresh_token=account.refresh_token)

    async with start_worker():
        failure = (await control.report_of("t1")).failure

    assert (failure.code, failure.status, failure.is_transient) == ("transport_error", 0, True)
    assert len(await upstream.log("token")) == 1


async def test_usage_is_asked_for_again_where_that_may_help(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker, time: FastTime
) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", rate_limited(), refuse(), kind="usage")
    control.next_claim_in_s = 5.0
    control.hand_out(USAGE, access_token=account.access_token)

    async with start_worker(sleep=only_retries_are_fast(time)):
        report = await control.report_of("t1")

    assert report.usage.plan == "plus"
    assert time.slept_s == [0.5, 1.0]


async def test_usage_is_given_up_after_the_last_retry(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker, time: FastTime
) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", then=http(503, "down_for_now"), kind="usage")
    control.next_claim_in_s = 5.0
    control.hand_out(USAGE, access_token=account.access_token)

    async with start_worker(sleep=only_retries_are_fast(time), usage_fetch_max_retries=3):
        failure = (await control.report_of("t1")).failure

    assert (failure.code, failure.status, failure.is_transient) == ("down_for_now", 503, True)
    assert len(await upstream.log("usage")) == 4
    assert time.slept_s == [0.5, 1.0, 2.0]


async def test_a_rejected_access_token_is_reported_at_once_and_may_pass(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", unauthorized(), kind="usage")
    control.hand_out(USAGE, access_token=account.access_token)

    async with start_worker():
        failure = (await control.report_of("t1")).failure

    assert (failure.code, failure.status, failure.is_transient) == ("token_expired", 401, True)
    assert len(await upstream.log("usage")) == 1


async def test_an_upstream_that_says_nothing_is_given_up_after_the_timeout(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", then=hang_headers(), kind="usage")
    control.hand_out(USAGE, access_token=account.access_token)

    async with start_worker(usage_fetch_timeout_seconds=0.1, usage_fetch_max_retries=0):
        failure = (await control.report_of("t1")).failure

    assert (failure.code, failure.status, failure.is_transient) == ("timeout", 0, True)


async def test_an_endless_answer_is_cut_off(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    await upstream.set_models("a", {"slug": "gpt-9", "base_instructions": "x" * 5 * 2**20})
    control.hand_out(MODELS, access_token=account.access_token)

    async with start_worker():
        failure = (await control.report_of("t1")).failure

    assert (failure.code, failure.status, failure.is_transient) == ("response_too_large", 200, True)


async def test_no_more_than_eight_tickets_run_at_once(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", then=hold_headers(), kind="usage")
    for n in range(20):
        control.hand_out(USAGE, ticket_id=f"t{n}", access_token=account.access_token)

    async with start_worker():
        seen = await upstream.wait_for(lambda seen: seen.held == 8)
        await control.wait_for(lambda: control.claims[-1].tickets_max == 12)
        held = (await upstream.counters()).total.held
        await upstream.script("a", kind="usage")
        await upstream.release()
        await control.wait_for(lambda: len({report.ticket_id for report in control.reports}) == 20)
        await control.wait_for(lambda: control.claims[-1].tickets_max == 32)

    assert (seen.held, held) == (8, 8)


async def test_a_ticket_waits_for_its_place_in_the_period(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker, time: FastTime
) -> None:
    account = await upstream.add_account("a")
    control.next_claim_in_s = 5.0
    control.hand_out(USAGE, access_token=account.access_token, start_after_s=17.0)

    async with start_worker(sleep=time.sleep):
        report = await control.report_of("t1")

    assert 17.0 in time.slept_s
    assert report.usage.plan == "plus"


async def test_a_ticket_that_could_not_end_in_time_is_never_begun(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    control.hand_out(ROTATION, ticket_id="short", refresh_token=account.refresh_token, ttl_s=20.0)
    control.hand_out(USAGE, ticket_id="t2", access_token=account.access_token)

    with capture_logs() as lines:
        async with start_worker():
            await control.report_of("t2")

    told = {report.ticket_id: report.failure.code for report in control.reports}
    assert told == {"short": "not_started", "t2": ""}
    assert [line["ticket_id"] for line in lines if "dropped" in line["event"]] == ["short"]
    assert await upstream.log("token") == []


async def test_a_report_is_repeated_while_control_cannot_take_it(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    control.refuse_reports.extend([ErrorReason.ERROR_REASON_STORE_UNAVAILABLE, ErrorReason.ERROR_REASON_DRAINING])
    control.hand_out(ROTATION, refresh_token=account.refresh_token)

    async with start_worker():
        await control.wait_for(lambda: len(control.reports) == 3)

    first, second, third = control.reports
    assert first.rotation == second.rotation == third.rotation
    assert len(await upstream.log("token")) == 1


async def test_a_stale_report_is_dropped_with_one_line(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    control.refuse_reports.append(ErrorReason.ERROR_REASON_STALE_EPOCH)
    control.hand_out(USAGE, access_token=account.access_token)

    with capture_logs() as lines:
        async with start_worker():
            await control.report_of("t1")

    [line] = [line for line in lines if "dropped" in line["event"]]
    assert (line["ticket_id"], line["log_level"]) == ("t1", "warning")
    assert "STALE_EPOCH" in line["error"]
    assert len(control.reports) == 1


async def test_a_result_that_control_never_takes_is_dropped_when_the_ticket_lapses(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker, time: FastTime
) -> None:
    account = await upstream.add_account("a")
    control.refuse_reports.extend([ErrorReason.ERROR_REASON_STORE_UNAVAILABLE] * 1000)
    control.hand_out(USAGE, access_token=account.access_token)

    with capture_logs() as lines:
        async with start_worker(sleep=time.sleep):
            await control.wait_for(lambda: time.elapsed_s > 120)

    [line] = [line for line in lines if "dropped" in line["event"]]
    assert (line["ticket_id"], line["log_level"]) == ("t1", "warning")


async def test_a_rotated_pair_is_offered_long_after_its_ticket_lapsed(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker, time: FastTime
) -> None:
    account = await upstream.add_account("a")
    control.refuse_reports.extend([ErrorReason.ERROR_REASON_STORE_UNAVAILABLE] * 40)
    control.hand_out(ROTATION, refresh_token=account.refresh_token)

    async with start_worker(sleep=time.sleep):
        await control.wait_for(lambda: len(control.reports) == 41)

    assert control.reports[-1].rotation == control.reports[0].rotation
    assert control.reports[-1].age.seconds > 60
    assert control.reports[-1].observed_at.ToDatetime(UTC) < time.now() - timedelta(seconds=60)


async def test_a_spent_token_that_is_handed_out_again_is_never_sent_again(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    control.refuse_reports.append(ErrorReason.ERROR_REASON_STALE_EPOCH)
    control.hand_out(ROTATION, ticket_id="t1", refresh_token=account.refresh_token)

    async with start_worker():
        lost = await control.report_of("t1")
        control.hand_out(ROTATION, ticket_id="t2", refresh_token=account.refresh_token)
        taken = await control.report_of("t2")

    assert taken.rotation == lost.rotation
    assert len(await upstream.log("token")) == 1
    assert await upstream.violations() == []


async def test_a_rotated_pair_that_is_lost_is_an_error_in_the_log(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    control.refuse_reports.append(ErrorReason.ERROR_REASON_ACCOUNT_NOT_FOUND)
    control.hand_out(ROTATION, refresh_token=account.refresh_token)

    with capture_logs() as lines:
        async with start_worker():
            await control.report_of("t1")

    [line] = lines
    assert (line["ticket_id"], line["log_level"]) == ("t1", "error")
    assert control.reports[0].rotation.access_token not in repr(line)


async def test_a_ticket_of_a_kind_we_do_not_know_is_left_to_others(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    control.hand_out(wire.TICKET_KIND_RETENTION, ticket_id="strange")
    control.hand_out(USAGE, access_token=account.access_token)

    async with start_worker():
        await control.report_of("t1")

    assert [report.ticket_id for report in control.reports] == ["t1"]


async def test_a_credential_that_no_request_can_carry_harms_nobody_else(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    control.hand_out(USAGE, ticket_id="line-end", access_token="secret-one\r\nx: y")
    control.hand_out(USAGE, ticket_id="accent", access_token="sécret-two")
    control.hand_out(USAGE, ticket_id="good", access_token=account.access_token)

    with capture_logs() as lines:
        async with start_worker(usage_fetch_max_retries=0):
            good = await control.report_of("good")
            bad = await control.report_of("line-end")

    assert good.usage.plan == "plus"
    assert (bad.failure.code, bad.failure.is_transient) == ("transport_error", True)
    assert "cret-" not in repr(lines) + repr(bad)


async def test_what_runs_may_end_after_the_stop_and_what_waits_is_not_begun(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", hold_headers(), kind="token")
    control.hand_out(ROTATION, ticket_id="runs", refresh_token=account.refresh_token)
    control.hand_out(USAGE, ticket_id="waits", access_token=account.access_token, start_after_s=20.0)

    async with start_worker() as worker:
        await upstream.wait_for(lambda seen: seen.held == 1)
        worker.stop.set()
        await upstream.release()
        await worker.stopped.wait()

    assert [report.ticket_id for report in control.reports] == ["runs"]
    assert control.reports[0].rotation.access_token
    assert await upstream.log("usage") == []


async def test_draining_is_bounded_for_what_can_be_fetched_anew(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", hold_headers(), kind="usage")
    control.hand_out(USAGE, access_token=account.access_token)

    async with start_worker(drain_within_s=0.1) as worker:
        await upstream.wait_for(lambda seen: seen.held == 1)
        worker.stop.set()
        with anyio.fail_after(5.0):
            await worker.stopped.wait()

    assert control.reports == []


async def test_draining_waits_for_a_rotation_in_flight(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", hold_headers(), kind="token")
    control.hand_out(ROTATION, refresh_token=account.refresh_token)

    async with start_worker(drain_within_s=0.0) as worker:
        await upstream.wait_for(lambda seen: seen.held == 1)
        worker.stop.set()
        await anyio.wait_all_tasks_blocked()
        await upstream.release()
        report = await control.report_of("t1")

    assert report.rotation.access_token


async def test_a_rotation_survives_being_cancelled(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", hold_headers(), kind="token")
    control.hand_out(ROTATION, refresh_token=account.refresh_token)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_until_cancelled, start_worker)
        await upstream.wait_for(lambda seen: seen.held == 1)
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await upstream.release()
            report = await control.report_of("t1")

    assert report.rotation.access_token


async def test_the_service_starts_drains_and_tells_its_health(
    upstream: Upstream, control: ControlStandIn, target: str, time: FastTime
) -> None:
    settings = WorkerSettings(control_target=target, upstream_base_url=upstream.chatgpt_url)
    health, stop, ready = Health(), Stop(), anyio.Event()
    service = WorkerService(settings, time, health=health)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: run_all([service], stop, drain_s=5.0, on_ready=ready.set))
        await ready.wait()
        well = health.states()["usage-worker"]
        time.elapsed_s += 3600
        stalled = health.states()["usage-worker"]
        stop.set()

    assert well == "ok"
    assert "stood still" in stalled


def only_retries_are_fast(time: FastTime) -> Callable[[float], Awaitable[None]]:
    """Lets the pauses between tries pass at once; the loop's own longer waits are real and end with the stop."""

    async def sleep(seconds: float) -> None:
        await (anyio.sleep(seconds) if seconds > 2.0 else time.sleep(seconds))

    return sleep


async def run_until_cancelled(start_worker: StartWorker) -> None:
    async with start_worker():
        await anyio.sleep_forever()
