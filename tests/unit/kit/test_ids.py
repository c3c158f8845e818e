"""Ids of our own making."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from codex_lb.kit.ids import ALPHABET, RANDOM_BITS, TIME_BITS, Sequence, format_id, new_id

moments = st.integers(0, 2**TIME_BITS - 1)
randoms = st.integers(0, 2**RANDOM_BITS - 1)


def test_an_id_is_its_prefix_and_twenty_six_characters_of_base32() -> None:
    prefix, _, rest = new_id("lease").partition("_")

    assert prefix == "lease"
    assert len(rest) == 26
    assert set(rest) <= set(ALPHABET)


def test_no_two_ids_are_the_same() -> None:
    assert len({new_id("acc") for _ in range(1000)}) == 1000


def test_ids_of_one_moment_sort_in_the_order_of_their_making() -> None:
    made = [new_id("spill") for _ in range(1000)]

    assert made == sorted(made)


@given(st.lists(st.tuples(st.integers(0, 5), randoms | st.sampled_from([0, 2**RANDOM_BITS - 1])), min_size=2))
def test_values_rise_whatever_the_clock_and_chance_say(calls: list[tuple[int, int]]) -> None:
    sequence = Sequence()

    values = [sequence.next(at_ms, random_bits) for at_ms, random_bits in calls]

    assert values == sorted(set(values))


@given(moments, moments, randoms, randoms)
def test_ids_sort_by_the_time_of_their_making(at: int, later: int, random: int, other: int) -> None:
    at, later = sorted((at, later))

    first, second = format_id("x", at, random), format_id("x", later, other)

    assert (first < second) or (at == later)
