"""Who is served next: the key that has least, and inside a key whoever came first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from codex_lb.control.domain.fair_queue import FairQueue


@dataclass(eq=False)
class Waiting:
    """A turn of a key."""

    key: str


def nobody(_: str) -> bool:
    """No key holds all it may."""
    return False


def test_a_key_with_one_turn_does_not_wait_for_one_with_a_hundred() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    for _ in range(100):
        queue.put(Waiting("greedy"), "any")
    modest = Waiting("modest")
    queue.put(modest, "any")

    assert queue.next({"greedy": 1, "modest": 0}.__getitem__, (), nobody) is modest


def test_whoever_came_first_is_served_first_among_equals() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    first, second = Waiting("a"), Waiting("b")
    queue.put(first, "any")
    queue.put(second, "any")

    assert queue.next(lambda _: 0, (), nobody) is first
    queue.remove(first)
    assert queue.next(lambda _: 0, (), nobody) is second


def test_a_kind_that_cannot_be_served_holds_nobody_else_up() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    queue.put(Waiting("a"), "bound to a busy account")
    free = Waiting("a")
    queue.put(free, "any account")

    assert queue.next(lambda _: 0, {"bound to a busy account"}, nobody) is free
    assert queue.next(lambda _: 0, {"bound to a busy account", "any account"}, nobody) is None


def test_a_turn_that_waits_for_something_else_keeps_its_place() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    first, second, third = Waiting("a"), Waiting("a"), Waiting("a")
    queue.put(first, "one account")
    queue.put(second, "any")
    queue.put(third, "any")

    queue.move(first, "any")

    assert queue.next(lambda _: 0, (), nobody) is first
    queue.remove(first)
    assert queue.next(lambda _: 0, (), nobody) is second
    assert (len(queue), queue.waiting_of("a"), list(queue.kinds_of("a"))) == (2, 2, ["any"])


def test_a_turn_that_left_is_not_brought_back_and_leaves_nothing() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    turn = Waiting("a")
    queue.put(turn, "any")

    assert queue.remove(turn) is not None
    queue.move(turn, "one account")
    queue.remove(turn)

    assert (len(queue), list(queue.keys), list(queue.kinds_of("a"))) == (0, [], [])


def test_a_key_that_holds_all_it_may_is_passed_over_and_keeps_nobody_waiting() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    for _ in range(3):
        queue.put(Waiting("busy"), "any")
    other = Waiting("other")
    queue.put(other, "any")

    assert queue.next({"busy": 1, "other": 5}.__getitem__, (), "busy".__eq__) is other
    queue.remove(other)
    assert queue.next(lambda _: 1, (), "busy".__eq__) is None
    assert (queue.waiting_of("busy"), queue.waiting_of("other")) == (3, 0)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.integers(1, 5))
def test_slots_are_shared_max_min_fair(keys: list[str], slots: int) -> None:
    queue: FairQueue[Waiting] = FairQueue()
    for key in keys:
        queue.put(Waiting(key), "any")
    held: Counter[str] = Counter()

    for _ in range(min(slots, len(keys))):
        turn = queue.next(held.__getitem__, (), nobody)
        assert turn is not None
        queue.remove(turn)
        held[turn.key] += 1

    wanted = Counter(keys)
    assert len(queue) == len(keys) - held.total()
    assert all(held[key] >= held[other] - 1 for key in wanted for other in wanted if held[key] < wanted[key]), (
        "a key that still waits has at most one less than any other"
    )
