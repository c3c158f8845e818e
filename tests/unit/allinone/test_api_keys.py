"""API keys on the terminal: how limits and times are written, how keys are named and shown."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, RenderableType

from codex_lb.allinone.admin.api_key_tables import key_view, keys_table
from codex_lb.allinone.admin.api_keys import instant_of, limit_of, span_of
from codex_lb.allinone.admin.names import AmbiguousKeyError, UnknownKeyError, resolve_key
from codex_lb.allinone.failures import CommandError
from codex_lb.api.admin.v1 import api_key_service_pb2 as pb

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def at(offset: timedelta) -> Timestamp:
    instant = Timestamp()
    instant.FromDatetime(NOW + offset)
    return instant


def key(name: str, **fields: object) -> pb.ApiKey:
    return pb.ApiKey(name=f"apiKeys/key_{name}", display_name=name, key_prefix=f"sk-clb-{name}", **fields)  # type: ignore[arg-type]


def shown(view: RenderableType) -> str:
    written = io.StringIO()
    Console(file=written, width=160).print(view)
    return written.getvalue()


@pytest.mark.parametrize(
    ("text", "unit", "window", "amount", "model"),
    [
        ("200k tokens/day", pb.LIMIT_UNIT_TOTAL_TOKENS, pb.LIMIT_WINDOW_DAY, 200_000, ""),
        ("1.5M output-tokens/month", pb.LIMIT_UNIT_OUTPUT_TOKENS, pb.LIMIT_WINDOW_MONTH, 1_500_000, ""),
        ("$5/week", pb.LIMIT_UNIT_COST_USD, pb.LIMIT_WINDOW_WEEK, 5_000_000, ""),
        ("$0.01 usd / day", pb.LIMIT_UNIT_COST_USD, pb.LIMIT_WINDOW_DAY, 10_000, ""),
        ("100 requests/5h:gpt-5.5", pb.LIMIT_UNIT_REQUESTS, pb.LIMIT_WINDOW_FIVE_HOURS, 100, "gpt-5.5"),
    ],
)
def test_limits_are_written_as_they_are_said(
    text: str, unit: pb.LimitUnit.ValueType, window: pb.LimitWindow.ValueType, amount: int, model: str
) -> None:
    assert limit_of(text) == pb.Limit(unit=unit, window=window, amount_max=amount, model=model)


@pytest.mark.parametrize("text", ["", "5", "tokens/day", "5 tokens", "5 apples/day", "5 tokens/year", "-5 tokens/day"])
def test_what_is_no_limit_is_told_how_one_is_written(text: str) -> None:
    with pytest.raises(CommandError, match="200k tokens/day"):
        limit_of(text)


def test_an_end_is_a_span_from_now_or_the_end_of_a_day() -> None:
    assert instant_of("30d", now=NOW).ToDatetime(UTC) == NOW + timedelta(days=30)
    assert instant_of("2027-01-31", now=NOW).ToDatetime(UTC) == datetime(2027, 2, 1, tzinfo=UTC)
    assert instant_of("2027-01-31T10:00+02:00", now=NOW).ToDatetime(UTC) == datetime(2027, 1, 31, 8, tzinfo=UTC)
    with pytest.raises(CommandError, match="is no time"):
        instant_of("soon", now=NOW)


def test_a_span_has_a_unit_unless_it_is_none() -> None:
    assert [span_of(text) for text in ("0", "90min", "2w")] == [
        timedelta(0),
        timedelta(minutes=90),
        timedelta(weeks=2),
    ]
    with pytest.raises(CommandError, match="is no span"):
        span_of("24")


def test_a_key_is_named_by_id_name_or_its_first_characters() -> None:
    keys = [key("laptop"), key("ci")]

    assert [resolve_key(given, keys).display_name for given in ("key_ci", "CI", "sk-clb-ci…")] == ["ci"] * 3
    with pytest.raises(UnknownKeyError, match="Did you mean laptop"):
        resolve_key("lapto", keys)
    with pytest.raises(AmbiguousKeyError, match="key_ci"):
        resolve_key("ci", [*keys, key("ci")])


def test_the_list_says_what_works_and_for_how_long() -> None:
    table = shown(
        keys_table(
            [
                key("old", expires_at=at(-timedelta(days=1))),
                key("off", disabled=True),
                key("new", expires_at=at(timedelta(days=3)), allowed_models=["gpt-5.5"], streams_max=2),
            ],
            now=NOW,
            columns=160,
        )
    )

    assert "expired" in table
    assert "disabled" in table
    assert "expires in 3 d" in table
    assert "0 running, at most 2" in table


def test_a_limit_is_shown_as_what_is_used_of_how_much_and_until_when() -> None:
    limits = [
        pb.Limit(
            unit=pb.LIMIT_UNIT_COST_USD,
            window=pb.LIMIT_WINDOW_WEEK,
            amount_max=5_000_000,
            amount_used=1_250_000,
            resets_at=at(timedelta(days=2)),
        ),
        pb.Limit(
            unit=pb.LIMIT_UNIT_OUTPUT_TOKENS,
            window=pb.LIMIT_WINDOW_FIVE_HOURS,
            model="gpt-5.5",
            amount_max=200_000,
            amount_used=190_000,
            amount_reserved=10_000,
        ),
    ]

    view = shown(key_view(key("ci", limits=limits), now=NOW))

    assert "$1.25 of $5.00 a week, resets in 2 d" in view
    assert "████████ 190k of 200k output tokens in 5 h with gpt-5.5" in view
