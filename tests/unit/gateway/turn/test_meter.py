"""Tokens are upstream's own or nobody's: never estimated, and what is unknown is never zero."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.leasing import wire
from codex_lb.gateway.outcome import Usage
from codex_lb.gateway.turn.meter import WORD_CHARS_MAX, read_error_event, read_terminal

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def completed(**response: object) -> bytes:
    return msgspec.json.encode({"type": "response.completed", "response": {"id": "resp_1", "output": [], **response}})


def usage(**members: object) -> Usage | None:
    return read_terminal(completed(usage=members)).usage


def test_the_end_of_an_answer_says_who_what_and_how_much() -> None:
    finished = read_terminal(
        completed(
            service_tier="default",
            usage={
                "input_tokens": 12,
                "input_tokens_details": {"cached_tokens": 4},
                "output_tokens": 3,
                "output_tokens_details": {"reasoning_tokens": 1},
                "total_tokens": 15,
            },
        )
    )

    assert (finished.response_id, finished.service_tier, finished.error) == ("resp_1", "default", None)
    assert finished.usage == Usage(12, 4, 3, 1, 15)


@pytest.mark.parametrize("count", [None, "12", -1, 1.5, True, 1e300, 2**70, [], {}])
@pytest.mark.parametrize("name", ["input_tokens", "output_tokens"])
def test_a_count_that_is_none_leaves_the_usage_unknown(name: str, count: object) -> None:
    assert usage(**{"input_tokens": 5, "output_tokens": 6, name: count}) is None


@pytest.mark.parametrize("missing", [{}, {"input_tokens": 5}, {"output_tokens": 6}, {"total_tokens": 11}])
def test_half_a_usage_is_no_usage(missing: dict[str, object]) -> None:
    assert usage(**missing) is None


@pytest.mark.parametrize("value", [None, [], "many", 7])
def test_a_usage_that_is_no_object_is_unknown_and_costs_nothing_else(value: object) -> None:
    finished = read_terminal(completed(usage=value, service_tier="default"))

    assert (finished.usage, finished.response_id, finished.service_tier) == (None, "resp_1", "default")


def test_counts_written_as_whole_floats_count() -> None:
    assert usage(input_tokens=5.0, output_tokens=6.0) == Usage(5, 0, 6, 0, 11)


@pytest.mark.parametrize("details", [None, {}, [], "x", {"cached_tokens": None}, {"cached_tokens": "4"}])
def test_details_that_cannot_be_read_do_not_hide_the_counts(details: object) -> None:
    assert usage(input_tokens=5, output_tokens=6, input_tokens_details=details) == Usage(5, 0, 6, 0, 11)


def test_what_was_cached_is_never_more_than_what_was_given() -> None:
    read = usage(input_tokens=5, output_tokens=6, input_tokens_details={"cached_tokens": 50})

    assert read is not None
    assert read.cached_input_tokens == 5


@pytest.mark.parametrize("member", [{"id": None}, {"id": 7}, {"service_tier": 5}, {"usage": "x"}])
def test_a_failure_is_read_whatever_else_of_its_response_is_odd(member: dict[str, object]) -> None:
    finished = read_terminal(completed(error={"code": "usage_limit_reached"}, **member))

    assert finished.error == {"code": "usage_limit_reached"}


def test_words_that_travel_on_have_a_bound() -> None:
    finished = read_terminal(completed(id="r" * 10_000, service_tier="t" * 10_000))

    assert len(finished.response_id) == len(finished.service_tier) == WORD_CHARS_MAX


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "error": {"code": "x", "message": "m"}},
        {"type": "error", "code": "x", "message": "m"},
        {"type": "error", "status": 429, "error": {"code": "x", "message": "m"}},
    ],
)
def test_an_error_event_is_read_nested_or_flat(event: dict[str, object]) -> None:
    error = read_error_event(msgspec.json.encode(event))

    assert isinstance(error, dict)
    assert (error["code"], error["message"]) == ("x", "m")
    assert error.get("type") is None  # "error" is the event's type, not the error's


@pytest.mark.parametrize("data", [b"", b"[DONE]", b"null", b"[]", b'"x"', b"{", b"\xff", b'{"response":"\xff"}'])
def test_what_is_no_event_says_nothing(data: bytes) -> None:
    finished = read_terminal(data)

    assert (finished.response_id, finished.usage, finished.service_tier, finished.error) == ("", None, "", None)
    assert read_error_event(data) is None


def test_nesting_without_end_says_nothing() -> None:
    deep = b'{"response":{"id":"r","usage":' + b"[" * 100_000

    assert read_terminal(deep).usage is None


@given(st.binary(max_size=40))
def test_any_bytes_can_be_read(data: bytes) -> None:
    read_terminal(data)
    read_error_event(data)


@given(
    st.dictionaries(
        st.sampled_from(
            ["input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details"]
        ),
        json_values | st.dictionaries(st.sampled_from(["cached_tokens", "reasoning_tokens"]), json_values),
    )
)
def test_any_usage_is_unknown_or_can_be_sent_to_control(members: dict[str, object]) -> None:
    read = usage(**members)

    if read is not None:
        assert wire.usage(read).input_tokens == read.input_tokens
        assert members["input_tokens"] == read.input_tokens
        assert members["output_tokens"] == read.output_tokens
