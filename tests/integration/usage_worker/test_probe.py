"""A probe between control's stand-in and the simulated upstream: one small turn, and what came of it."""

from __future__ import annotations

import time

import pytest

from codex_lb.api.worker.v1 import refresh_pb2 as wire
from tests.integration.usage_worker.conftest import StartWorker
from tests.integration.usage_worker.control_stand_in import ControlStandIn
from tests.support.upstream import (
    Step,
    Upstream,
    cut_before_output,
    deactivated,
    failed,
    limit,
    ok,
    refuse,
    unauthorized,
)

PROBE = wire.TICKET_KIND_PROBE
pytestmark = pytest.mark.usefixtures("listening")


async def test_an_account_that_serves_is_asked_for_one_small_turn(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    probed = await probe(upstream, control, start_worker, ok())

    turn = await upstream.turn(account="a")
    assert (probed.served, probed.status, probed.code, probed.credential_generation) == (True, 200, "", 3)
    assert (turn.body["model"], turn.body["store"]) == ("gpt-5.5", False)
    assert await upstream.violations() == []


@pytest.mark.parametrize(
    ("step", "status", "code"),
    [
        (unauthorized(), 401, "token_expired"),
        (deactivated(), 401, "account_deactivated"),
        (failed("server_is_overloaded"), 200, "server_is_overloaded"),
        (cut_before_output(), 0, "transport_error"),
        (refuse(), 0, "transport_error"),
    ],
)
async def test_one_that_does_not_serve_says_how_and_is_not_asked_again(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker, step: Step, status: int, code: str
) -> None:
    probed = await probe(upstream, control, start_worker, step)

    assert (probed.served, probed.status, probed.code) == (False, status, code)
    assert probed.message
    assert (await upstream.turn(account="a")).path.endswith("/codex/responses")


async def test_a_refusal_says_until_when(
    upstream: Upstream, control: ControlStandIn, start_worker: StartWorker
) -> None:
    probed = await probe(upstream, control, start_worker, limit(resets_in_s=600))

    assert (probed.status, probed.code) == (429, "usage_limit_reached")
    assert probed.resets_at.seconds > time.time()


async def probe(upstream: Upstream, control: ControlStandIn, start_worker: StartWorker, step: Step) -> wire.ProbeResult:
    """What the worker reports of a probe that upstream answers like that."""
    account = await upstream.add_account("a")
    await upstream.script("a", step)
    control.hand_out(PROBE, access_token=account.access_token, chatgpt_account_id=account.account_id, model="gpt-5.5")
    async with start_worker():
        return (await control.report_of("t1")).probe
