"""What an API key may be, and what changes with it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest

from codex_lb.control.domain.api_key import ApiKey, checked, rotated, secret_of, with_limits, with_usage_reset
from codex_lb.control.domain.ids import ApiKeyId
from codex_lb.control.domain.limit import Limit, LimitUnit, LimitWindow
from codex_lb.control.errors import InvalidUpdateError
from tests.support.clock import NOON

OLD, NEW = secret_of("a" * 43), secret_of("b" * 43)
KEY = ApiKey(ApiKeyId("key_1"), "ci", OLD.prefix, OLD.digest, created_at=NOON, updated_at=NOON)
LATER = NOON + timedelta(days=3)


def limit(amount_max: int, unit: LimitUnit = LimitUnit.REQUESTS) -> Limit:
    return Limit("", unit, LimitWindow.DAY, "", amount_max, begins_at=LATER)


def test_of_a_key_its_beginning_and_its_digest_are_kept_and_a_repr_tells_nothing() -> None:
    assert OLD.text == "sk-clb-" + "a" * 43
    assert OLD.prefix == "sk-clb-aaaaaaaa"
    assert OLD.digest == hashlib.sha256(OLD.text.encode()).digest()
    assert "aaa" not in repr(OLD)


def test_after_a_rotation_the_old_secret_works_on_for_the_overlap() -> None:
    key = rotated(KEY, NEW, overlap=timedelta(hours=1), now=LATER)

    assert (key.digest, key.prefix) == (NEW.digest, NEW.prefix)
    assert (key.previous_digest, key.previous_until) == (OLD.digest, LATER + timedelta(hours=1))


def test_without_an_overlap_the_old_secret_ends_with_the_rotation() -> None:
    key = rotated(rotated(KEY, NEW, overlap=timedelta(hours=1), now=NOON), OLD, overlap=timedelta(0), now=LATER)

    assert (key.previous_digest, key.previous_until) == (b"", None)


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=31)])
def test_an_overlap_is_bounded(overlap: timedelta) -> None:
    with pytest.raises(InvalidUpdateError, match="overlap"):
        rotated(KEY, NEW, overlap=overlap, now=NOON)


def test_a_limit_that_stays_keeps_its_id_and_its_history_and_a_new_one_counts_from_the_keys_beginning() -> None:
    numbers = count(1)
    first = replace(KEY, limits=with_limits(KEY, [limit(5)], new_limit_id=lambda: f"limit_{next(numbers)}"))
    reset = with_usage_reset(first, [], now=LATER)

    limits = with_limits(reset, [limit(9, LimitUnit.COST_USD), limit(7)], new_limit_id=lambda: f"limit_{next(numbers)}")

    assert [(x.limit_id, x.amount_max, x.begins_at, x.reset_at) for x in limits] == [
        ("limit_2", 9, NOON, None),
        ("limit_1", 7, NOON, LATER),
    ]


def test_a_reset_of_one_limit_leaves_the_others_and_an_unknown_one_is_refused() -> None:
    one, two = replace(limit(5), limit_id="one"), replace(limit(5, LimitUnit.COST_USD), limit_id="two")
    key = replace(KEY, limits=(one, two))

    assert [x.reset_at for x in with_usage_reset(key, ["two"], now=LATER).limits] == [None, LATER]
    with pytest.raises(InvalidUpdateError, match="no limit three"):
        with_usage_reset(key, ["three"], now=LATER)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "  "}, "display_name"),
        ({"name": "x" * 129}, "display_name"),
        ({"name": "two\nlines"}, "display_name"),
        ({"allowed_models": ("",)}, "allowed_models"),
        ({"allowed_models": ("m" * 257,)}, "model's name"),
        ({"allowed_models": tuple(str(n) for n in range(201))}, "allowed_models"),
        ({"enforced_model": "b", "allowed_models": ("a",)}, "enforced_model"),
        ({"enforced_reasoning_effort": "huge"}, "enforced_reasoning_effort"),
        ({"allowed_reasoning_efforts": ("low", "huge")}, "allowed_reasoning_efforts"),
        ({"enforced_reasoning_effort": "low", "allowed_reasoning_efforts": ("low",)}, "not both"),
        ({"enforced_service_tier": "gold"}, "enforced_service_tier"),
        ({"streams_max": 10_001}, "streams_max"),
        ({"limits": (limit(0),)}, "amount_max"),
        ({"limits": (limit(5), limit(6))}, "at most one limit"),
    ],
)
def test_what_a_key_cannot_be_is_refused_by_field(change: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidUpdateError, match=said):
        checked(replace(KEY, **change))  # type: ignore[arg-type]


def test_a_key_with_everything_at_its_bounds_is_kept_with_its_name_trimmed() -> None:
    key = replace(
        KEY, name="  ci  ", allowed_models=("a", "b"), enforced_model="b", allowed_reasoning_efforts=("low", "high")
    )

    assert checked(key).name == "ci"
