"""What is typed after `admin settings set`, and what is said when it makes no sense."""

from __future__ import annotations

import pytest

from codex_lb.allinone.admin.client import AdminError
from codex_lb.allinone.admin.settings import parsed
from codex_lb.api.admin.v1 import settings_service_pb2 as pb


def test_every_kind_of_value_is_understood() -> None:
    wanted = parsed(
        [
            "routing_strategy=fill_first",
            "prefer_earlier_reset=on",
            "account_stream_limit=0",
            "allowed_client_cidrs= a ,b",
        ]
    )

    assert wanted == pb.Settings(
        routing_strategy=pb.ROUTING_STRATEGY_FILL_FIRST, prefer_earlier_reset=True, allowed_client_cidrs=["a", "b"]
    )


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("routing_strategy=best", "routing_strategy is one of: capacity_weighted, "),
        ("routing_strategy", "write NAME=VALUE"),
        ("colour=red", "There is no setting colour."),
        ("etag=1", "There is no setting etag."),
        ("prefer_earlier_reset=maybe", "prefer_earlier_reset is on or off."),
        ("account_stream_limit=-1", "a whole number"),
        ("account_stream_limit=99999999999", "That cannot be set"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(assignment: str, said: str) -> None:
    with pytest.raises(AdminError, match=said):
        parsed([assignment])
