"""Failures and their form on the wire."""

from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any
from google.rpc import status_pb2  # type: ignore[import-untyped]

from codex_lb.api.errors.v1.reasons_pb2 import ErrorReason
from codex_lb.kit.rpc_errors import STATUS_CODES, RpcFailure, from_status, to_status


def test_every_reason_has_its_status_code() -> None:
    assert set(STATUS_CODES) == set(ErrorReason.values())


@pytest.mark.parametrize("reason", ErrorReason.values(), ids=ErrorReason.keys())
def test_a_failure_survives_the_way_through_a_status(reason: ErrorReason.ValueType) -> None:
    failure = RpcFailure(reason, "nothing left", metadata={"window": "day"}, retry_after_s=12.25)

    arrived = from_status(to_status(failure))

    assert arrived is not None
    assert (arrived.reason, arrived.message) == (reason, "nothing left")
    assert (arrived.metadata, arrived.retry_after_s) == ({"window": "day"}, 12.25)


def test_a_failure_that_may_not_be_retried_carries_no_delay() -> None:
    arrived = from_status(to_status(RpcFailure(ErrorReason.ERROR_REASON_KEY_INVALID, "unknown key")))

    assert arrived is not None
    assert arrived.retry_after_s is None


def test_a_status_of_somebody_else_is_not_taken_for_ours() -> None:
    foreign = status_pb2.Status(code=14, message="no route", details=[Any(type_url="x/y", value=b"z")])

    assert from_status(foreign) is None
