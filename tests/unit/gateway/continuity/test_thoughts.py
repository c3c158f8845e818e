"""Reasoning is found again by the calls it led to, by whoever holds the same key, for as long as there is room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.continuity.thoughts import MemoryThoughts, Sealed


def sealed(name: str, size: int = 10) -> Sealed:
    return Sealed(name, name.encode().ljust(size, b"."))


def test_a_thought_is_found_by_the_first_call_it_led_to() -> None:
    thoughts = MemoryThoughts()
    thoughts.remember("acc", "key", ["call_1", "call_2"], [sealed("a"), sealed("b")])

    assert thoughts.before("key", ["call_1", "call_2"]) == (sealed("a").item, sealed("b").item)
    assert thoughts.before("key", ["call_9"]) == ()
    assert thoughts.before("key", []) == ()


def test_another_keys_thoughts_are_not_found() -> None:
    thoughts = MemoryThoughts()
    thoughts.remember("acc", "key", ["call_1"], [sealed("a")])

    assert thoughts.before("other", ["call_1"]) == ()


def test_a_thought_has_an_owner_even_if_it_led_to_no_call() -> None:
    thoughts = MemoryThoughts()
    thoughts.remember("acc", "key", [], [sealed("a")])

    assert (thoughts.owner_of("a"), thoughts.owner_of("b")) == ("acc", "")


def test_what_was_used_longest_ago_is_forgotten_first() -> None:
    thoughts = MemoryThoughts(bytes_max=25)
    thoughts.remember("acc", "", ["one"], [sealed("a")])
    thoughts.remember("acc", "", ["two"], [sealed("b")])
    thoughts.before("", ["one"])

    thoughts.remember("acc", "", ["three"], [sealed("c")])

    assert thoughts.before("", ["one"])
    assert not thoughts.before("", ["two"])
    assert thoughts.before("", ["three"])


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 60)), max_size=40))
def test_memory_never_grows_beyond_its_bound(told: list[tuple[str, int]]) -> None:
    thoughts = MemoryThoughts(bytes_max=100)
    for call, size in told:
        thoughts.remember("acc", "", [call], [Sealed(call, b"." * size)])

    held = [thoughts.before("", [call]) for call in "abcde"]
    assert sum(len(item) for items in held for item in items) == thoughts._bytes <= 100
