"""Messages and failures as the Connect protocol writes them."""

from __future__ import annotations

import json

import grpc
import pytest

from codex_lb.api.admin.v1 import api_key_service_pb2 as pb
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.control.web.connect_wire import (
    STATUSES,
    code_of,
    read_message,
    read_timeout_s,
    write_failure,
    write_message,
)
from codex_lb.kit.rpc_errors import RpcFailure


def test_every_code_of_grpcs_has_a_name_and_a_status_but_ok() -> None:
    assert set(STATUSES) == set(grpc.StatusCode) - {grpc.StatusCode.OK}
    assert code_of(grpc.StatusCode.CANCELLED) == "canceled"
    assert code_of(grpc.StatusCode.FAILED_PRECONDITION) == "failed_precondition"


def test_a_message_is_written_with_all_its_fields_and_read_again() -> None:
    limit = pb.Limit(unit=pb.LIMIT_UNIT_TOTAL_TOKENS, amount_max=2**60)
    key = pb.ApiKey(display_name="Jérôme", limits=[limit])

    written = write_message(key)

    assert json.loads(written)["displayName"] == "Jérôme"
    assert json.loads(written)["disabled"] is False
    assert json.loads(written)["limits"][0]["amountMax"] == str(2**60)
    assert read_message(pb.ApiKey, written) == key


def test_an_empty_body_is_an_empty_message() -> None:
    assert read_message(pb.ListApiKeysRequest, b"") == pb.ListApiKeysRequest()


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"x"', b'{"pageSize": "many"}', b'{"nobody": 1}', b"\xff\xfe", b"[" * 100_000, b"NaN"]
)
def test_what_is_no_such_message_is_refused(body: bytes) -> None:
    with pytest.raises(RpcFailure, match="The body is no ListApiKeysRequest") as caught:
        read_message(pb.ListApiKeysRequest, body)

    assert caught.value.reason == reasons_pb2.ERROR_REASON_INVALID_ARGUMENT


def test_a_failure_says_when_to_try_again() -> None:
    failure = RpcFailure(reasons_pb2.ERROR_REASON_STORE_UNAVAILABLE, "The database is away.", retry_after_s=2.5)

    written = json.loads(write_failure(failure))

    assert (written["code"], written["message"]) == ("unavailable", "The database is away.")
    assert [(detail["type"], detail["debug"]) for detail in written["details"]] == [
        ("google.rpc.ErrorInfo", {"reason": "STORE_UNAVAILABLE", "domain": "codex-lb"}),
        ("google.rpc.RetryInfo", {"retryDelay": "2.500s"}),
    ]


def test_a_timeout_is_kept_within_our_own_bound() -> None:
    assert read_timeout_s("", timeout_s_max=9.0) == 9.0
    assert read_timeout_s("1500", timeout_s_max=9.0) == 1.5
    assert read_timeout_s("9999999999", timeout_s_max=9.0) == 9.0


@pytest.mark.parametrize("given", ["-1", "1.5", "12345678901", "soon", "१"])
def test_a_timeout_that_is_no_number_is_refused(given: str) -> None:
    with pytest.raises(RpcFailure, match="connect-timeout-ms"):
        read_timeout_s(given, timeout_s_max=9.0)
