"""Finding a few bytes in many."""

from __future__ import annotations

import tracemalloc

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.kit.needle import WINDOW_BYTES, Needle

MARK = b'"id"'
pieces = st.sampled_from([MARK, b'"id', b'id"', b'"', b"i", b"\\", b"\x00", b"\xff", b"a" * 100])


@given(st.lists(pieces, max_size=20).map(b"".join))
def test_it_finds_what_python_finds(data: bytes) -> None:
    needle = Needle(MARK)

    found = list(needle.places(data))

    assert len(found) == data.count(MARK)
    assert found == sorted(found, reverse=True)
    assert all(data.startswith(MARK, at) for at in found)
    assert needle.is_in(data) is (MARK in data)


@given(st.sampled_from([1, 2]), st.integers(-len(MARK) - 1, 1))
def test_it_finds_once_what_lies_between_two_windows(windows: int, before: int) -> None:
    at = windows * WINDOW_BYTES + before
    data = b"x" * at + MARK + b"x" * WINDOW_BYTES

    assert list(Needle(MARK).places(data)) == [at]
    assert Needle(MARK).is_in(data)
    assert not Needle(b"y").is_in(data)


def test_what_is_there_a_million_times_is_found_at_once() -> None:
    data = MARK * 10**6
    needle = Needle(MARK)
    tracemalloc.start()

    assert needle.is_in(data)
    assert next(needle.places(data)) == len(data) - len(MARK)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 100 * WINDOW_BYTES


def test_it_looks_into_raw_json_as_it_is() -> None:
    needle = Needle(MARK)

    assert list(needle.places(msgspec.Raw(b'{"id":1}'))) == list(needle.places(b'{"id":1}')) == [1]
    assert not needle.is_in(msgspec.Raw())
