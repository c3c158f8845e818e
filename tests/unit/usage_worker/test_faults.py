"""What goes wrong upstream gets a stable code, and no text of upstream's travels on."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.usage_worker import faults
from codex_lb.usage_worker.work import Failure

SECRET = "eyJhbGciOi.J9-secret"


def refusal(status: int, body: object) -> Failure:
    return faults.upstream_refusal(status, msgspec.json.encode(body), when="fetching usage")


def grant(status: int, body: object) -> Failure:
    return faults.grant_refusal(status, msgspec.json.encode(body), when="rotating tokens")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": {"code": "token_expired", "type": "invalid_request_error"}}, "token_expired"),
        ({"error": {"code": None, "type": "Usage_Limit_Reached"}}, "usage_limit_reached"),
        ({"error": {"error": "server_busy"}}, "server_busy"),
        ({"error": "invalid_grant", "error_description": "…"}, "invalid_grant"),
        ({"error_code": "quota"}, "quota"),
        ({"code": "quota"}, "quota"),
        ({"detail": {"code": "deactivated_workspace"}}, "deactivated_workspace"),
        ({"error": {"message": "Your OpenAI account has been deactivated."}}, "account_deactivated"),
        ({"detail": "This account has been deactivated"}, "account_deactivated"),
        ({"detail": "Not Found"}, "http_418"),
        ({"error": {"code": 17}}, "http_418"),
        ({}, "http_418"),
        ([], "http_418"),
    ],
)
def test_the_code_is_upstreams_own_where_it_gave_one(body: object, code: str) -> None:
    assert refusal(418, body).code == code


@pytest.mark.parametrize("body", [b"", b"<html>cloudflare</html>", b"\xff\xfe", b'{"a":' * 50_000])
def test_an_answer_that_is_no_json_goes_by_its_status(body: bytes) -> None:
    failure = faults.upstream_refusal(403, body, when="fetching usage")

    assert (failure.code, failure.status, failure.is_transient) == ("http_403", 403, True)


@pytest.mark.parametrize("said", [SECRET, f"Bearer {SECRET}", "a whole sentence", "x" * 65])
def test_text_that_is_no_code_is_not_taken_for_one(said: str) -> None:
    failure = refusal(401, {"error": {"code": said, "message": said}, "detail": said})

    assert failure.code == "http_401"
    assert said not in failure.message


@pytest.mark.parametrize("code", sorted(faults.ACCOUNT_CLOSED_CODES))
def test_a_closed_account_is_final_for_every_request(code: str) -> None:
    assert not refusal(401, {"error": {"code": code}}).is_transient
    assert not grant(401, {"error": {"code": code}}).is_transient


@pytest.mark.parametrize("code", sorted(faults.LOGIN_ENDED_CODES))
def test_an_ended_login_is_final_for_its_refresh_token_only(code: str) -> None:
    assert not grant(400, {"error": {"code": code}}).is_transient
    assert refusal(401, {"error": {"code": code}}).is_transient  # a rotation may heal a rejected access token


def test_a_workspace_that_is_not_paid_for_is_final() -> None:
    assert not refusal(402, {"detail": {"code": "deactivated_workspace"}}).is_transient


@given(st.integers(100, 599), st.binary())
def test_any_answer_has_a_code_and_a_bounded_sentence(status: int, body: bytes) -> None:
    failure = faults.upstream_refusal(status, body, when="fetching usage")

    assert faults.CODE.fullmatch(failure.code)
    assert failure.status == status
    assert len(failure.message) < 200


def test_only_what_may_go_better_in_a_moment_is_asked_again() -> None:
    again = [status for status in range(100, 600) if faults.is_worth_another_try(refusal(status, {}))]

    assert again == [408, 429, 500, 502, 503, 504]
    assert faults.is_worth_another_try(faults.timed_out(when="w", after_s=10))
    assert faults.is_worth_another_try(faults.transport_failure(when="w", kind="ConnectError"))
    assert not faults.is_worth_another_try(faults.unreadable(when="w", status=200, why="…"))
    assert not faults.is_worth_another_try(faults.too_large(when="w", status=200, bytes_max=1))
