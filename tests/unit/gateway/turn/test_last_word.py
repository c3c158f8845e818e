"""A client is told what it can act on; what is an account's own business stays here."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.errors import (
    GatewayError,
    ModelNotOfferedError,
    NoAccountError,
    PoolBusyError,
    PoolExhaustedError,
    RateLimitedError,
    UpstreamFailedError,
    UpstreamRefusedError,
    envelope,
)
from codex_lb.gateway.leasing.client import LeaseRefusedError
from codex_lb.gateway.outcome import Blame, Broken, Failure, Fault, Limited, Rejected
from codex_lb.gateway.turn.last_word import error_of_failure, error_of_refusal

SECRET = "token eyJ-secret of anna@example.com"
RESETS_AT = datetime(2026, 5, 4, 13, tzinfo=UTC)
KINDS: tuple[type[Limited] | type[Rejected] | type[Broken], ...] = (Limited, Rejected, Broken)


def fault(blame: Blame, *, status: int = 0, code: str = "some_code") -> Fault:
    return Fault(code, blame, "upstream's words", status=status, plan="plus", resets_at=RESETS_AT, retry_after_s=7.0)


def refusal(reason: str) -> LeaseRefusedError:
    return LeaseRefusedError(f"ERROR_REASON_{reason}", "control's words", retry_at=None, resets_at=RESETS_AT)


@pytest.mark.parametrize(
    ("reason", "kind", "status"),
    [
        ("POOL_EXHAUSTED", PoolExhaustedError, 429),
        ("POOL_BUSY", PoolBusyError, 429),
        ("MODEL_NOT_OFFERED", ModelNotOfferedError, 400),
        ("NO_ACCOUNT_AVAILABLE", NoAccountError, 503),
        ("STORE_UNAVAILABLE", NoAccountError, 503),
        ("OF_NEXT_YEAR", NoAccountError, 503),
    ],
)
def test_a_refusal_of_controls_has_its_own_error(reason: str, kind: type[GatewayError], status: int) -> None:
    error = error_of_refusal(refusal(reason), None)

    assert (type(error), error.status, str(error)) == (kind, status, "control's words")


def test_an_exhausted_pool_says_when_it_returns_and_which_plan_it_was() -> None:
    error = error_of_refusal(refusal("POOL_EXHAUSTED"), Limited(fault(Blame.ACCOUNT)))

    assert isinstance(error, PoolExhaustedError)
    assert (error.resets_at, error.plan, error.code) == (RESETS_AT, "plus", "usage_limit_reached")


@pytest.mark.parametrize("reason", ["POOL_BUSY", "NO_ACCOUNT_AVAILABLE"])
def test_when_the_only_account_failed_its_failure_explains_more_than_the_empty_pool(reason: str) -> None:
    limited = error_of_refusal(refusal(reason), Limited(fault(Blame.ACCOUNT)))
    broken = error_of_refusal(refusal(reason), Broken(fault(Blame.UPSTREAM, status=503)))

    assert isinstance(limited, PoolExhaustedError)
    assert isinstance(broken, UpstreamFailedError)


def test_several_limited_accounts_are_no_proof_that_the_pool_is_spent() -> None:
    error = error_of_failure(Limited(fault(Blame.ACCOUNT)), is_pool_spent=False)

    assert isinstance(error, RateLimitedError)
    assert error.retry_after_s is not None


@pytest.mark.parametrize("blame", [Blame.CLIENT, Blame.MODEL])
@pytest.mark.parametrize(("status", "told"), [(0, 400), (400, 400), (404, 404), (413, 413), (422, 422)])
def test_what_concerns_the_request_is_passed_on_with_its_status(blame: Blame, status: int, told: int) -> None:
    error = error_of_failure(Rejected(fault(blame, status=status)), is_pool_spent=False)

    assert isinstance(error, UpstreamRefusedError)
    assert (error.status, error.code, str(error)) == (told, "some_code", "upstream's words")


@pytest.mark.parametrize(("status", "told"), [(0, 502), (403, 502), (500, 500), (503, 503), (529, 529)])
def test_a_broken_upstream_keeps_its_server_status_and_its_retry_after(status: int, told: int) -> None:
    error = error_of_failure(Broken(fault(Blame.UPSTREAM, status=status)), is_pool_spent=False)

    assert (type(error), error.status, error.retry_after_s) == (UpstreamFailedError, told, 7.0)


@given(st.integers(400, 599), st.booleans(), st.sampled_from(["invalid_api_key", "token_revoked", "account_deleted"]))
def test_an_accounts_rejected_login_never_reaches_the_client(status: int, spent: bool, code: str) -> None:
    rejected = Rejected(Fault(code, Blame.ACCOUNT, SECRET, status=status, body=SECRET.encode()))

    error = error_of_failure(rejected, is_pool_spent=spent)

    assert error.status == 503
    assert code not in envelope(error).decode()
    assert SECRET not in envelope(error).decode()
    assert not hasattr(error, "fault")  # whose body the reply would send


def test_every_failure_has_a_last_word() -> None:
    for kind, blame, spent in product(KINDS, Blame, (True, False)):
        failure: Failure = kind(fault(blame, status=401 if blame is Blame.ACCOUNT else 0))

        error = error_of_failure(failure, is_pool_spent=spent)

        assert 400 <= error.status <= 599
        assert error.status != 401
