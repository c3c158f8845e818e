"""Finding a few bytes in many."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.kit.needle import Needle

MARK = b'"id"'
pieces = st.sampled_from([MARK, b'"id', b'id"', b'"', b"i", b"\\", b"\x00", b"\xff", b"a" * 100])


@given(st.lists(pieces, max_size=20).map(b"".join))
def test_it_finds_what_python_finds(data: bytes) -> None:
    needle = Needle(MARK)

    found = needle.places(data)

    assert len(found) == data.count(MARK)
    assert all(data.startswith(MARK, at) for at in found)
    assert needle.is_in(data) is (MARK in data)


def test_it_looks_into_raw_json_and_buffers_as_they_are() -> None:
    needle = Needle(MARK)

    assert needle.places(msgspec.Raw(b'{"id":1}')) == needle.places(bytearray(b'{"id":1}')) == [1]
    assert not needle.is_in(msgspec.Raw())
