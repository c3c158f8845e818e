"""Control is restarted, refuses or is not there yet: the worker waits for it, and says so once."""

from __future__ import annotations

import anyio
from structlog.testing import capture_logs

from codex_lb.api.errors.v1.reasons_pb2 import ErrorReason
from codex_lb.api.worker.v1 import refresh_pb2 as wire
from tests.integration.usage_worker.conftest import StartWorker
from tests.integration.usage_worker.control_stand_in import ControlStandIn, serve
from tests.support.upstream import Upstream

USAGE = wire.TICKET_KIND_USAGE


async def test_a_worker_that_starts_before_control_finds_it(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker, target: str
) -> None:
    account = await upstream.add_account("a")
    control.hand_out(USAGE, access_token=account.access_token)

    async with start_worker(), serve(control, target):
        report = await control.report_of("t1")

    assert report.usage.plan == "plus"


async def test_a_worker_goes_on_after_control_was_restarted(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker, target: str
) -> None:
    account = await upstream.add_account("a")

    async with start_worker():
        async with serve(control, target):
            await control.wait_for(lambda: len(control.claims) >= 1)
        control.hand_out(USAGE, access_token=account.access_token)
        async with serve(control, target):
            report = await control.report_of("t1")

    assert report.usage.plan == "plus"
    assert len({claim.worker_id for claim in control.claims}) == 1


async def test_being_away_is_said_once_and_so_is_being_back(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker, target: str
) -> None:
    control.refuse_claims.extend([ErrorReason.ERROR_REASON_STORE_UNAVAILABLE] * 3)

    with capture_logs() as lines:
        async with serve(control, target), start_worker():
            await control.wait_for(lambda: len(control.claims) >= 5)

    assert [line["event"] for line in lines] == ["control is away", "control is back"]


async def test_the_worker_shows_its_service_token(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    async with (
        serve(control, "127.0.0.1:0", service_token="between-us") as dialled,
        start_worker(control_target=dialled, service_token="between-us"),
    ):
        await control.wait_for(lambda: len(control.claims) >= 1)

    assert control.claims


async def test_a_wrong_service_token_is_told_and_never_shown(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    refused = anyio.Event()

    async def sleep(seconds: float) -> None:
        refused.set()
        await anyio.sleep(seconds)

    with capture_logs() as lines:
        async with (
            serve(control, "127.0.0.1:0", service_token="between-us") as dialled,
            start_worker(sleep, control_target=dialled, service_token="yesterdays"),
        ):
            await refused.wait()

    assert control.claims == []
    assert "SERVICE_TOKEN_INVALID" in lines[0]["error"]
    assert "yesterdays" not in repr(lines)
