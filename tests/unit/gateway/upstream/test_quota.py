"""What an answer shows of its account's quota; a number that cannot be meant is not read as another."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from codex_lb.gateway.leasing import wire
from codex_lb.gateway.upstream.quota import WindowSeen, read_event, read_headers

RESETS_AT = 1_777_896_000
AT = datetime.fromtimestamp(RESETS_AT, UTC)
FULL = {"used_percent": 42.5, "window_minutes": 300, "reset_at": RESETS_AT}

texts = st.sampled_from(["", "x", "nan", "inf", "-inf", "1e300", "-1", "0", "50", "1e9999"]) | st.floats().map(str)
numbers = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4)


def headers(**values: str) -> CIMultiDict[str]:
    return CIMultiDict({f"X-Codex-{name.replace('_', '-')}": value for name, value in values.items()})


def event(**members: object) -> bytes:
    return msgspec.json.encode({"type": "codex.rate_limits", **members})


def test_the_windows_of_an_answers_headers() -> None:
    seen = read_headers(
        headers(
            Primary_Used_Percent="42.5",
            Primary_Window_Minutes="300",
            Primary_Reset_At=str(RESETS_AT),
            Secondary_Used_Percent="0",
            Secondary_Window_Minutes="10080",
        )
    )

    assert seen == (WindowSeen("primary", 42.5, 18_000.0, AT), WindowSeen("secondary", 0.0, 604_800.0, None))


def test_the_windows_of_an_event() -> None:
    seen = read_event(event(rate_limits={"primary": FULL, "monthly": {**FULL, "reset_at": None, "resets_at": 1e9}}))

    assert [w.window for w in seen] == ["primary", "monthly"]
    assert seen[0] == WindowSeen("primary", 42.5, 18_000.0, AT)
    assert seen[1].resets_at == datetime.fromtimestamp(1e9, UTC)


@pytest.mark.parametrize("used", ["", "nan", "inf", "-1", "full", "1e9999"])
def test_a_percentage_that_is_none_leaves_the_window_out(used: str) -> None:
    assert read_headers(headers(Primary_Used_Percent=used, Primary_Window_Minutes="300")) == ()


@pytest.mark.parametrize("minutes", ["", "nan", "inf", "0", "-5", "1e300", "five"])
def test_a_length_that_is_none_leaves_the_window_out(minutes: str) -> None:
    assert read_headers(headers(Primary_Used_Percent="5", Primary_Window_Minutes=minutes)) == ()


@pytest.mark.parametrize("reset", ["", "nan", "inf", "0", "-5", "1e300", "soon"])
def test_a_reset_that_is_none_is_unknown(reset: str) -> None:
    (seen,) = read_headers(headers(Primary_Used_Percent="5", Primary_Window_Minutes="300", Primary_Reset_At=reset))

    assert seen.resets_at is None


def test_more_than_everything_is_everything() -> None:
    (seen,) = read_headers(headers(Primary_Used_Percent="130", Primary_Window_Minutes="300"))

    assert seen.used_percent == 100.0


@pytest.mark.parametrize(
    "half", [{}, {"Primary_Used_Percent": "5"}, {"Primary_Window_Minutes": "300"}, {"Other_Primary_Used_Percent": "5"}]
)
def test_half_a_window_is_no_window(half: dict[str, str]) -> None:
    assert read_headers(headers(**half)) == ()


@pytest.mark.parametrize("name", ["limit_id", "metered_limit_name", "limit_name"])
def test_the_quota_of_one_model_is_not_the_accounts(name: str) -> None:
    limits = {"primary": FULL}

    assert read_event(event(rate_limits=limits, **{name: "codex_bengalfox"})) == ()
    assert len(read_event(event(rate_limits=limits, **{name: "codex"}))) == 1
    assert len(read_event(event(rate_limits=limits, **{name: None}))) == 1


@pytest.mark.parametrize(
    "window",
    [None, {**FULL, "used_percent": "42"}, {**FULL, "used_percent": -1}, {**FULL, "window_minutes": 0}, {}, [], 5],
)
def test_a_window_of_an_event_that_cannot_be_meant_is_left_out(window: object) -> None:
    assert read_event(event(rate_limits={"primary": window})) == ()


@pytest.mark.parametrize(
    "data", [b"", b"{", b"null", b"{}", b'{"rate_limits":null}', b'{"\xff":"\xff"}', b"[" * 99_999]
)
def test_what_is_no_event_shows_nothing(data: bytes) -> None:
    assert read_event(data) == ()


@given(texts, texts, texts)
def test_any_headers_are_left_out_or_can_be_sent_to_control(used: str, minutes: str, reset: str) -> None:
    seen = read_headers(headers(Primary_Used_Percent=used, Primary_Window_Minutes=minutes, Primary_Reset_At=reset))

    assert all(0 <= wire.window(w).used_percent <= 100 for w in seen)


@given(st.dictionaries(st.sampled_from(sorted(FULL)), numbers))
def test_any_event_is_left_out_or_can_be_sent_to_control(window: dict[str, object]) -> None:
    seen = read_event(event(rate_limits={"secondary": window}))

    assert all(wire.window(w).length.seconds >= 0 for w in seen)
