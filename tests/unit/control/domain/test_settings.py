"""What an operator may set, and what is refused with the field's name."""

from __future__ import annotations

import pytest

from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.settings import LiveSettings, Strategy, changed
from codex_lb.control.errors import InvalidUpdateError


def test_what_is_changed_is_all_that_changes() -> None:
    settings = changed(LiveSettings(account_stream_limit=3), {"routing_strategy": Strategy.ROUND_ROBIN})

    assert settings == LiveSettings(account_stream_limit=3, routing_strategy=Strategy.ROUND_ROBIN)


def test_a_single_account_is_named_with_its_strategy_or_before() -> None:
    named = changed(LiveSettings(), {"routing_strategy": Strategy.SINGLE_ACCOUNT, "single_account": AccountId("acc_1")})

    assert named.single_account == "acc_1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("account_stream_limit", -1),
        ("account_create_limit", 10_001),
        ("allowed_client_cidrs", ("10.0.0.1/8",)),
        ("unauthenticated_client_cidrs", ("here",)),
        ("allowed_client_cidrs", ("10.0.0.0/8",) * 201),
        ("single_account", "no strategy of that name"),
        ("no_such_setting", True),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, value: object) -> None:
    settings = LiveSettings()
    values = {name: value}
    if name == "single_account":
        values = {"routing_strategy": Strategy.SINGLE_ACCOUNT}

    with pytest.raises(InvalidUpdateError, match=name):
        changed(settings, values)
