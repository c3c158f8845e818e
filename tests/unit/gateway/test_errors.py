"""Every error of ours is one that OpenAI's clients can read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from codex_lb.gateway.errors import (
    BodyTooLargeError,
    GatewayError,
    InvalidRequestError,
    KeyLimitReachedError,
    OwnerUnavailableError,
    PoolExhaustedError,
    RateLimitedError,
    TooManyFailuresError,
    UpstreamFailedError,
    UpstreamRefusedError,
    envelope,
    failed_event,
)
from codex_lb.gateway.outcome import Blame, Fault
from codex_lb.gateway.turn.sse import Kind, data_of, kind_of

FAULT = Fault("some_code", Blame.UPSTREAM, "words", status=503)
MAKE = {
    BodyTooLargeError: lambda: BodyTooLargeError(status=413),
    OwnerUnavailableError: lambda: OwnerUnavailableError("away", retry_at=None),
    PoolExhaustedError: lambda: PoolExhaustedError("spent", resets_at=None),
    KeyLimitReachedError: lambda: KeyLimitReachedError("used up", retry_at=None),
    RateLimitedError: lambda: RateLimitedError("slow down", retry_after_s=None),
    TooManyFailuresError: lambda: TooManyFailuresError(retry_after_s=30.0),
    UpstreamFailedError: lambda: UpstreamFailedError(FAULT),
    UpstreamRefusedError: lambda: UpstreamRefusedError(FAULT),
}


def subclasses(of: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for kind in of.__subclasses__():
        yield kind
        yield from subclasses(kind)


@pytest.mark.parametrize("kind", [GatewayError, *subclasses(GatewayError)], ids=lambda kind: kind.__name__)
def test_every_error_has_an_openai_envelope(kind: type[GatewayError]) -> None:
    error = MAKE.get(kind, lambda: kind("what happened"))()

    inner = msgspec.json.decode(envelope(error))["error"]

    assert 400 <= error.status <= 599
    assert inner["message"]
    assert inner["code"] == error.code
    assert inner["type"].endswith(("_error", "service_unavailable", "usage_limit_reached"))
    assert set(inner) <= {"message", "type", "code", "param"}
    assert kind.__doc__


def test_a_refused_member_is_named() -> None:
    inner = msgspec.json.decode(envelope(InvalidRequestError("no", param="reasoning.effort")))["error"]

    assert inner["param"] == "reasoning.effort"


def test_a_spent_pool_says_when_in_both_ways_codex_reads() -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)

    inner = msgspec.json.decode(envelope(PoolExhaustedError("spent", resets_at=soon, plan="pro")))["error"]

    assert inner["resets_at"] == int(soon.timestamp())
    assert 3500 < inner["resets_in_seconds"] <= 3600
    assert inner["plan_type"] == "pro"
    assert inner["type"] == "usage_limit_reached"  # Codex and OpenClaw go by the type


def test_a_reset_that_has_passed_is_now() -> None:
    past = datetime.now(UTC) - timedelta(hours=1)

    assert msgspec.json.decode(envelope(PoolExhaustedError("x", resets_at=past)))["error"]["resets_in_seconds"] == 0


@pytest.mark.parametrize("message", ["two\nlines", 'a "quote"', "emoji 🙂", "\r\n\r\ndata: {}", "nul \0"])
def test_a_failed_event_is_one_event_whatever_it_says(message: str) -> None:
    raw = failed_event(code="server_error", message=message, response_id="resp_1")

    assert kind_of(raw) is Kind.FAILED
    assert raw.count(b"\n\n") == 1
    assert raw.endswith(b"\n\n")
    response = msgspec.json.decode(data_of(raw))["response"]
    assert response["error"] == {"code": "server_error", "message": message}
    assert (response["id"], response["status"], response["output"]) == ("resp_1", "failed", [])
