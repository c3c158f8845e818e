"""Gateways refuse early what control would refuse: in the same words, so that nobody can tell which of them did."""

from __future__ import annotations

from datetime import timedelta

import pytest

from codex_lb.control.domain.limit import Limit, LimitUnit, LimitWindow
from codex_lb.control.usecases.key_limits import refusal
from codex_lb.control.usecases.limit_ports import BudgetUse
from codex_lb.gateway.leasing.policy import ReachedLimit
from codex_lb.gateway.routes.reading import limit_words
from tests.support.clock import NOON


@pytest.mark.parametrize("model", ["", "gpt-5.5"])
@pytest.mark.parametrize("unit", LimitUnit)
def test_a_limit_that_is_used_up_is_told_the_same_by_both(unit: LimitUnit, model: str) -> None:
    limit = Limit("limit_1", unit, LimitWindow.WEEK, model, 10, begins_at=NOON)
    resets_at = NOON + timedelta(days=7)

    said = refusal(limit, BudgetUse(10, 0), NOON)

    assert said.message == limit_words(ReachedLimit(unit.value, "week", model, resets_at))
    assert said.retry_at == said.resets_at == resets_at
