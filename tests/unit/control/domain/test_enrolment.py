"""A sign-in ends once, and time alone can end it too."""

from __future__ import annotations

from datetime import timedelta

import pytest

from codex_lb.control.domain import enrolment
from codex_lb.control.domain.enrolment import Flow, FlowMethod, FlowStage
from codex_lb.control.domain.ids import AccountId, FlowId
from tests.support.clock import NOON

FLOW = Flow(FlowId("f"), FlowMethod.DEVICE, FlowStage.PENDING, None, "", NOON, NOON + timedelta(seconds=900))


def later(seconds: float) -> timedelta:
    """So much later."""
    return timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("flow", "after_s", "stage"),
    [
        (FLOW, 0, FlowStage.PENDING),
        (FLOW, 899, FlowStage.PENDING),
        (FLOW, 900, FlowStage.EXPIRED),
        (enrolment.exchanging(FLOW, until=NOON + later(20)), 19, FlowStage.EXCHANGING),
        (enrolment.exchanging(FLOW, until=NOON + later(20)), 20, FlowStage.PENDING),
        (enrolment.exchanging(FLOW, until=NOON + later(910)), 905, FlowStage.EXCHANGING),
        (enrolment.exchanging(FLOW, until=NOON + later(910)), 911, FlowStage.EXPIRED),
        (enrolment.failed(FLOW, "no"), 5000, FlowStage.FAILED),
        (enrolment.cancelled(FLOW), 5000, FlowStage.CANCELLED),
        (enrolment.succeeded(FLOW, AccountId("a"), is_account_new=True), 5000, FlowStage.SUCCEEDED),
    ],
)
def test_where_it_stands_follows_from_what_is_stored_and_the_time(flow: Flow, after_s: float, stage: FlowStage) -> None:
    assert flow.stage_at(NOON + later(after_s)) is stage


def test_a_device_that_is_told_to_slow_down_is_asked_ever_more_seldom_up_to_a_bound() -> None:
    flow = FLOW
    periods = []
    for _ in range(20):
        flow = enrolment.still_waiting(flow, now=NOON, slow_down=True)
        periods.append(flow.poll_period_s)

    assert periods[:3] == [10, 15, 20]
    assert periods[-1] == enrolment.POLL_PERIOD_S_MAX
    assert flow.poll_at == NOON + later(enrolment.POLL_PERIOD_S_MAX)


def test_an_end_leaves_nothing_to_be_done() -> None:
    flow = enrolment.failed(enrolment.asking(FLOW, until=NOON), "why")

    assert (flow.poll_at, flow.busy_until, flow.problem) == (None, None, "why")
