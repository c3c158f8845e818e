"""A weighted bag against a plain dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from codex_lb.control.domain.weighted import WeightedBag

things = st.sampled_from("abcdefghijk")
steps = st.lists(st.tuples(things, st.none() | st.integers(0, 50)), max_size=60)


@given(steps)
def test_each_thing_holds_as_many_marks_as_it_weighs(taken: list[tuple[str, int | None]]) -> None:
    bag: WeightedBag[str] = WeightedBag()
    model: dict[str, int] = {}

    for thing, weight in taken:
        if weight is not None:
            bag.put(thing, weight)
            model[thing] = weight
        elif thing in model:
            bag.remove(thing)
            del model[thing]

    drawn = [bag.at(mark) for mark in range(bag.total)]
    assert bag.total == sum(model.values())
    assert {thing: drawn.count(thing) for thing in set(drawn)} == {t: w for t, w in model.items() if w}
    assert all(bag.weight(thing) == model.get(thing, 0) for thing in "abcdefghijk")
