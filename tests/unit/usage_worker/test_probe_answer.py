"""Reading what upstream answers to a probe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.usage_worker.probe_answer import parse_probe
from codex_lb.usage_worker.work import Probed

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CREATED = b'event: response.created\ndata: {"type":"response.created","response":{"error":null}}\n\n'


@pytest.mark.parametrize("last", ["response.completed", "response.incomplete", "response.done"])
def test_a_turn_that_came_to_its_end_was_served(last: str) -> None:
    assert read(200, CREATED + f'data: {{"type":"{last}"}}\n\n'.encode()) == Probed(is_served=True, status=200)


@pytest.mark.parametrize(
    "event",
    [
        b'{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded","resets_in_seconds":59.5}}}',
        b'{"type":"error","error":{"code":"rate_limit_exceeded","resets_in_seconds":59.5}}',
        b'{"type":"error","code":"rate_limit_exceeded","resets_in_seconds":59.5}',
    ],
)
def test_a_turn_that_upstream_ended_says_why_and_until_when(event: bytes) -> None:
    probed = read(200, CREATED + b"event: x\ndata: " + event + b"\n\n")

    assert (probed.is_served, probed.code) == (False, "rate_limit_exceeded")
    assert probed.message == "probing: upstream ended the turn with rate_limit_exceeded"
    assert probed.resets_at == NOW + timedelta(seconds=60)


def test_an_error_that_has_no_code_is_upstreams() -> None:
    assert read(200, b'data: {"type":"response.failed","response":{"error":null}}\n\n').code == "upstream_error"


def test_a_stream_that_ends_early_served_nobody() -> None:
    assert read(200, CREATED).code == "stream_incomplete"


def test_a_model_that_upstream_does_not_offer_is_named_as_the_reason() -> None:
    body = b'{"detail": "The \'x\' model is not supported when using Codex with a ChatGPT account."}'

    probed = read(400, body)

    assert (probed.code, probed.message) == (
        "model_not_supported",
        "probing: upstream does not offer the account this model",
    )


@pytest.mark.parametrize(
    ("resets", "expected"),
    [
        ('"resets_at": 1767225660', NOW + timedelta(seconds=60)),
        ('"resets_at": 1767225600', None),
        ('"resets_at": 1e300', None),
        ('"resets_at": true, "resets_in_seconds": 5', NOW + timedelta(seconds=5)),
        ('"resets_in_seconds": -5', None),
        ('"resets_in_seconds": "soon"', None),
    ],
)
def test_a_reset_counts_when_it_can_be_true(resets: str, expected: datetime | None) -> None:
    body = f'{{"error": {{"code": "usage_limit_reached", {resets}}}}}'.encode()

    probed = read(429, body)

    assert (probed.status, probed.code, probed.resets_at) == (429, "usage_limit_reached", expected)


@given(st.integers(200, 599), st.binary() | st.binary().map(lambda b: b"data:" + b))
def test_nonsense_never_counts_as_served(status: int, body: bytes) -> None:
    assert not read(status, body).is_served


def read(status: int, body: bytes) -> Probed:
    return parse_probe(status, body, when="probing", now=NOW)
