"""Gives what goes wrong upstream a stable code, and says whether trying again may help. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from codex_lb.usage_worker.work import Failure

# Only these codes end a login or an account; everything else may pass.
LOGIN_ENDED_CODES = frozenset(
    {
        "refresh_token_expired",
        "refresh_token_reused",
        "refresh_token_invalidated",
        "invalid_grant",
        "token_invalidated",
        "token_expired",
        "app_session_terminated",
        "account_session_expired",
        "account_auth_invalidated",
    }
)
ACCOUNT_CLOSED_CODES = frozenset({"account_deactivated", "account_suspended", "account_deleted"})
PAYMENT_REQUIRED = 402  # the workspace is not paid for: only a person can change that

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
TIMED_OUT = "timeout"
TRANSPORT_ERROR = "transport_error"
CONNECT_FAILED = "connect_failed"  # nothing was sent
NOT_STARTED = "not_started"  # neither was anything tried
RESPONSE_TOO_LARGE = "response_too_large"
INVALID_RESPONSE = "invalid_response"

# A code travels into logs and the database; what does not look like one (a sentence, a token) is not taken for one.
CODE = re.compile(r"[a-z][a-z0-9_]{0,47}")


def upstream_refusal(status: int, body: bytes, *, when: str) -> Failure:
    """What an answer that is not a success means for a request made with an access token.

    A rejected access token is transient: rotating it may help, and whether to is control's decision.
    """
    code = _code_of(status, body)
    is_final = code in ACCOUNT_CLOSED_CODES or status == PAYMENT_REQUIRED
    return Failure(code, status, f"{when}: upstream answered HTTP {status} ({code})", is_transient=not is_final)


def grant_refusal(status: int, body: bytes, *, when: str) -> Failure:
    """What an answer that is not a success means for a refresh token."""
    code = _code_of(status, body)
    is_final = code in ACCOUNT_CLOSED_CODES or code in LOGIN_ENDED_CODES
    return Failure(code, status, f"{when}: the issuer answered HTTP {status} ({code})", is_transient=not is_final)


def alert_refusal(status: int, *, when: str) -> Failure:
    """What an answer that is not a success means for an alert; what it says is nobody's business here."""
    is_transient = status in RETRIED_STATUSES or status >= 500
    return Failure(f"http_{status}", status, f"{when}: HTTP {status} was answered", is_transient=is_transient)


def unusable_address(*, when: str) -> Failure:
    """The address is none that can be posted to."""
    return Failure("unusable_address", 0, f"{when}: the address cannot be used", is_transient=False)


def timed_out(*, when: str, after_s: float) -> Failure:
    """No whole answer in time."""
    return Failure(TIMED_OUT, 0, f"{when}: no answer within {after_s:g} s", is_transient=True)


def transport_failure(*, when: str, kind: str) -> Failure:
    """The answer did not arrive; `kind` names the sort of error, never its text, which may quote a header."""
    return Failure(TRANSPORT_ERROR, 0, f"{when}: the connection failed ({kind})", is_transient=True)


def connect_failure(*, when: str, kind: str) -> Failure:
    """There was no connection, so that nothing was sent."""
    return Failure(CONNECT_FAILED, 0, f"{when}: no connection ({kind})", is_transient=True)


def not_started(*, why: str) -> Failure:
    """The ticket's work was never begun."""
    return Failure(NOT_STARTED, 0, f"not begun: {why}", is_transient=True)


def too_large(*, when: str, status: int, bytes_max: int) -> Failure:
    """An answer beyond its bound."""
    return Failure(
        RESPONSE_TOO_LARGE, status, f"{when}: the answer is larger than {bytes_max} bytes", is_transient=True
    )


def unreadable(*, when: str, status: int, why: str) -> Failure:
    """A success whose body is not what it should be."""
    return Failure(INVALID_RESPONSE, status, f"{when}: the answer cannot be read: {why}", is_transient=True)


def is_worth_another_try(failure: Failure) -> bool:
    """Whether asking again in a moment may go better; only for requests that may be repeated."""
    return failure.status in RETRIED_STATUSES or failure.code in {TIMED_OUT, TRANSPORT_ERROR, CONNECT_FAILED}


def _code_of(status: int, body: bytes) -> str:
    """Upstream's own code where it gave one, else `http_<status>`."""
    answer = mapping_of(body)
    if any("has been deactivated" in text for text in _texts(answer)):
        return "account_deactivated"
    return next((code for code in _codes(answer) if CODE.fullmatch(code)), f"http_{status}")


def mapping_of(body: bytes) -> Mapping[str, object]:
    """The body as a JSON object; empty where it is none."""
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (ValueError, RecursionError):  # a proxy's page, half an answer, or nonsense on purpose
        return {}


def _codes(answer: Mapping[str, object]) -> Iterator[str]:
    """Where a code may stand, the most telling place first."""
    for nested in (answer.get("error"), answer.get("detail")):
        if isinstance(nested, dict):
            yield from _lowered(nested.get("code"), nested.get("error"), nested.get("type"))
    yield from _lowered(answer.get("error"), answer.get("error_code"), answer.get("code"))


def _texts(answer: Mapping[str, object]) -> Iterator[str]:
    """Where a sentence may stand."""
    for nested in (answer.get("error"), answer.get("detail")):
        if isinstance(nested, dict):
            yield from _lowered(nested.get("message"), nested.get("error_description"))
    yield from _lowered(*(answer.get(name) for name in ("error", "error_description", "detail", "message")))


def _lowered(*values: object) -> Iterator[str]:
    return (value.lower() for value in values if isinstance(value, str))
