"""Whose a failure is, for every error that was ever recorded, and for any other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.outcome import Blame, Broken, Failure, Limited, Rejected
from codex_lb.gateway.turn.last_word import error_of_failure
from codex_lb.gateway.upstream.blame import (
    BY_CODE,
    CODE_CHARS_MAX,
    MESSAGE_CHARS_MAX,
    judge_answer,
    judge_event,
    read_retry_after,
)

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
EPOCH = int(NOON.timestamp())
HTML = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"
UNSUPPORTED = "The 'gpt-9' model is not supported when using Codex with a ChatGPT account."

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
errors = st.dictionaries(
    st.sampled_from(["code", "type", "message", "plan_type", "resets_at", "resets_in_seconds", "error", "detail"]),
    json_values | st.sampled_from(sorted(BY_CODE)),
)


def answer(status: int, body: object, **headers: str) -> Failure:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return judge_answer(status, {k.replace("_", "-"): v for k, v in headers.items()}, raw, now=NOON)


def error(**members: object) -> dict[str, object]:
    return {"error": members}


@pytest.mark.parametrize(
    ("status", "body", "kind", "blame", "code"),
    [
        # data-plane reference 2.12
        (429, error(type="usage_limit_reached", message="…"), Limited, Blame.ACCOUNT, "usage_limit_reached"),
        (401, error(code="invalid_api_key"), Rejected, Blame.ACCOUNT, "invalid_api_key"),
        (401, error(code="token_invalidated"), Rejected, Blame.ACCOUNT, "token_invalidated"),
        (401, {"detail": "Unauthorized"}, Rejected, Blame.ACCOUNT, "invalid_api_key"),
        (401, error(code="token_expired", type="invalid_request_error"), Rejected, Blame.ACCOUNT, "token_expired"),
        # clients reference 5
        (429, error(code="rate_limit_exceeded"), Limited, Blame.ACCOUNT, "rate_limit_exceeded"),
        (429, error(code="insufficient_quota"), Limited, Blame.ACCOUNT, "insufficient_quota"),
        (429, error(type="usage_not_included"), Limited, Blame.ACCOUNT, "usage_not_included"),
        (429, {}, Limited, Blame.ACCOUNT, "rate_limit_exceeded"),
        (429, error(type="invalid_request_error"), Limited, Blame.ACCOUNT, "invalid_request_error"),
        (402, error(code="deactivated_workspace"), Limited, Blame.ACCOUNT, "deactivated_workspace"),
        (503, error(code="server_is_overloaded"), Broken, Blame.MODEL, "server_is_overloaded"),
        (500, error(code="server_error"), Broken, Blame.UPSTREAM, "server_error"),
        (502, HTML, Broken, Blame.UPSTREAM, "upstream_error"),
        (503, b"", Broken, Blame.UPSTREAM, "upstream_error"),
        (529, {"message": "overloaded"}, Broken, Blame.UPSTREAM, "upstream_error"),
        (400, error(code="context_length_exceeded"), Rejected, Blame.CLIENT, "context_length_exceeded"),
        (400, error(code="invalid_prompt"), Rejected, Blame.CLIENT, "invalid_prompt"),
        (400, error(type="invalid_request_error", message="no"), Rejected, Blame.CLIENT, "invalid_request_error"),
        (400, {"detail": "Unsupported parameter: user"}, Rejected, Blame.CLIENT, "upstream_error"),
        (400, error(code="invalid_encrypted_content"), Rejected, Blame.CLIENT, "invalid_encrypted_content"),
        (400, error(code="previous_response_not_found"), Rejected, Blame.CLIENT, "previous_response_not_found"),
        (404, {"detail": "Not Found"}, Rejected, Blame.CLIENT, "not_found"),
        (413, HTML, Rejected, Blame.CLIENT, "upstream_error"),
        # the edge's own answers
        (403, HTML, Rejected, Blame.UPSTREAM, "upstream_error"),
        (408, b"", Broken, Blame.UPSTREAM, "upstream_error"),
        (307, b"", Broken, Blame.UPSTREAM, "upstream_error"),
        # one code for several things: the message decides
        (401, {"detail": "Your account has been deactivated"}, Rejected, Blame.ACCOUNT, "account_deactivated"),
        (403, error(message="This account has been deactivated."), Rejected, Blame.ACCOUNT, "account_deactivated"),
        (400, {"detail": UNSUPPORTED}, Rejected, Blame.MODEL, "model_not_supported"),
        (400, error(type="invalid_request_error", message=UNSUPPORTED), Rejected, Blame.MODEL, "model_not_supported"),
        (400, error(message="Selected model is at capacity."), Broken, Blame.MODEL, "server_is_overloaded"),
        (403, error(message="The usage limit has been reached"), Limited, Blame.ACCOUNT, "usage_limit_reached"),
        # a 401 is about the login, whatever its code says
        (401, error(type="invalid_request_error"), Rejected, Blame.ACCOUNT, "invalid_request_error"),
        (401, error(code="invalid_prompt"), Rejected, Blame.ACCOUNT, "invalid_prompt"),
        # odd shapes
        (429, {"error": "rate limited"}, Limited, Blame.ACCOUNT, "rate_limit_exceeded"),
        (429, {"error": [1, 2]}, Limited, Blame.ACCOUNT, "rate_limit_exceeded"),
        (429, error(code=17, type=None, message=["x"]), Limited, Blame.ACCOUNT, "rate_limit_exceeded"),
        (400, {"detail": {"code": "invalid_prompt"}}, Rejected, Blame.CLIENT, "invalid_prompt"),
        (400, error(code="Invalid_Prompt"), Rejected, Blame.CLIENT, "invalid_prompt"),
        (500, b"\xff\xfe{", Broken, Blame.UPSTREAM, "upstream_error"),
        (500, b'{"error":"\xff"}', Broken, Blame.UPSTREAM, "upstream_error"),
        (500, b'{"error":' * 50_000, Broken, Blame.UPSTREAM, "upstream_error"),
    ],
)
def test_an_answer_is_judged(status: int, body: object, kind: type[Failure], blame: Blame, code: str) -> None:
    failure = answer(status, body)

    assert (type(failure), failure.fault.blame, failure.fault.code) == (kind, blame, code)
    assert failure.fault.status == status
    assert failure.fault.message


@pytest.mark.parametrize(
    ("said", "kind", "blame", "code"),
    [
        ({"code": "rate_limit_exceeded"}, Limited, Blame.ACCOUNT, "rate_limit_exceeded"),
        ({"code": "usage_limit_reached"}, Limited, Blame.ACCOUNT, "usage_limit_reached"),
        ({"code": "insufficient_quota"}, Limited, Blame.ACCOUNT, "insufficient_quota"),
        ({"code": "server_error"}, Broken, Blame.UPSTREAM, "server_error"),
        ({"code": "server_is_overloaded"}, Broken, Blame.MODEL, "server_is_overloaded"),
        ({"code": "context_length_exceeded"}, Rejected, Blame.CLIENT, "context_length_exceeded"),
        ({"code": "invalid_prompt"}, Rejected, Blame.CLIENT, "invalid_prompt"),
        ({"code": "token_invalidated"}, Rejected, Blame.ACCOUNT, "token_invalidated"),
        ({"code": "of_next_year"}, Broken, Blame.UPSTREAM, "of_next_year"),
        ({"type": "usage_limit_reached"}, Limited, Blame.ACCOUNT, "usage_limit_reached"),
        ("server on fire", Broken, Blame.UPSTREAM, "upstream_error"),
        (None, Broken, Blame.UPSTREAM, "upstream_error"),
        (17, Broken, Blame.UPSTREAM, "upstream_error"),
    ],
)
def test_a_limit_is_a_property_of_an_event_too(said: object, kind: type[Failure], blame: Blame, code: str) -> None:
    failure = judge_event(said, now=NOON)

    assert (type(failure), failure.fault.blame, failure.fault.code) == (kind, blame, code)


@pytest.mark.parametrize(
    ("members", "resets_at"),
    [
        ({"resets_at": EPOCH + 3600}, NOON + timedelta(hours=1)),
        ({"resets_at": EPOCH + 3600, "resets_in_seconds": 5}, NOON + timedelta(hours=1)),
        ({"resets_in_seconds": 3600}, NOON + timedelta(hours=1)),
        ({"resets_in_seconds": 0.2}, NOON + timedelta(seconds=1)),  # rounded up: a second early is a refusal more
        ({"resets_at": EPOCH - 1}, None),
        ({"resets_at": 0}, None),
        ({"resets_at": EPOCH * 1000}, None),  # milliseconds
        ({"resets_at": 10**400}, None),
        ({"resets_in_seconds": 10**400}, None),
        ({"resets_in_seconds": -5}, None),
        ({"resets_at": str(EPOCH + 3600)}, None),
        ({"resets_at": True, "resets_in_seconds": True}, None),
        ({}, None),
    ],
)
def test_a_reset_is_read_where_it_is_plausible(members: dict[str, object], resets_at: datetime | None) -> None:
    by_status = answer(429, error(type="usage_limit_reached", plan_type="plus", **members))
    by_event = judge_event({"type": "usage_limit_reached", "plan_type": "plus", **members}, now=NOON)

    assert by_status.fault.resets_at == by_event.fault.resets_at == resets_at
    assert by_status.fault.plan == by_event.fault.plan == "plus"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("2", 2.0), ("0", 0.0), ("0.5", 0.5), (" 3 ", 3.0)]
    + [(v, None) for v in ("", "-1", "soon", "nan", "inf", "1e300", "Wed, 21 Oct 2026 07:28:00 GMT")],
)
def test_retry_after_is_seconds_or_nothing(value: str, seconds: float | None) -> None:
    assert read_retry_after(value) == seconds
    assert answer(503, b"", retry_after=value).fault.retry_after_s == seconds


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached. Please try again in 2s.", 2.0),
        ("Please try again in 1m30s.", 90.0),
        ("try again in 350ms", 0.35),
        ("Try again in 5 minutes", 300.0),
        ("try again in 1h 2m 3s", 3723.0),
        ("try again in 99999999h", None),
        ("try again in 3 parsecs", None),
        ("try again later", None),
    ],
)
def test_a_wait_is_read_in_upstreams_words_where_no_header_says_it(message: str, seconds: float | None) -> None:
    said = {"code": "rate_limit_exceeded", "message": message}

    assert judge_event(said, now=NOON).fault.retry_after_s == pytest.approx(seconds)
    assert answer(429, {"error": said}).fault.retry_after_s == pytest.approx(seconds)
    assert answer(429, {"error": said}, retry_after="7").fault.retry_after_s == 7.0


def test_upstreams_words_travel_with_a_bound() -> None:
    failure = answer(500, error(code="c" * 10_000, message="m" * 10_000, plan_type="p" * 10_000))

    assert len(failure.fault.code) == len(failure.fault.plan) == CODE_CHARS_MAX
    assert len(failure.fault.message) == MESSAGE_CHARS_MAX


def test_a_page_is_kept_out_of_the_message() -> None:
    failure = answer(403, HTML, content_type="text/html")

    assert failure.fault.message == "Upstream error: HTTP 403"
    assert (failure.fault.body, failure.fault.content_type) == (HTML, "text/html")


@given(st.integers(400, 599), json_values | errors | errors.map(lambda e: {"error": e}))
def test_any_answer_is_judged(status: int, body: object) -> None:
    failure = answer(status, body)

    assert isinstance(failure, Limited | Rejected | Broken)
    assert failure.fault.code


@given(st.integers(100, 599), st.binary())
def test_any_bytes_are_judged(status: int, body: bytes) -> None:
    assert answer(status, body).fault.status == status


@given(json_values | errors)
def test_any_event_is_judged(said: object) -> None:
    assert judge_event(said, now=NOON).fault.code


@given(errors.map(lambda e: {"error": e}) | errors | json_values)
def test_an_accounts_401_never_becomes_the_clients(body: object) -> None:
    failure = answer(401, body)

    assert failure.fault.blame is not Blame.CLIENT
    assert error_of_failure(failure, is_pool_spent=False).status != 401
