"""A stream folded into one object says what the stream said."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.translate.fold import Fold
from codex_lb.gateway.turn.sse import Kind, data_of, kind_of


def done(index: int | None, **item: object) -> bytes:
    place = {} if index is None else {"output_index": index}
    return json.dumps({"type": "response.output_item.done", **place, "item": item}).encode()


def terminal(**response: object) -> bytes:
    return json.dumps({"type": "response.completed", "sequence_number": 9, "response": response}).encode()


def folded(*events: bytes, **response: object) -> dict[str, object]:
    fold = Fold()
    for event in events:
        fold.add_item(event)
    made = json.loads(fold.response(terminal(**response)))
    assert isinstance(made, dict)
    return made


@pytest.mark.parametrize("output", [{}, {"output": []}, {"output": None}])
def test_an_empty_output_is_filled_in_the_order_of_its_indexes(output: dict[str, object]) -> None:
    made = folded(done(2, id="c"), done(0, id="a"), done(1, id="b"), id="r", **output)

    assert made == {"id": "r", "output": [{"id": "a"}, {"id": "b"}, {"id": "c"}]}


def test_an_output_that_is_there_is_believed() -> None:
    assert folded(done(0, id="a"), output=[{"id": "own"}])["output"] == [{"id": "own"}]


def test_without_items_an_output_stays_as_it_is() -> None:
    assert folded(output=[]) == {"output": []}
    assert folded(id="r") == {"id": "r"}


@given(st.permutations(range(6)))
def test_the_order_of_arrival_does_not_matter(order: list[int]) -> None:
    made = folded(*(done(i, id=i) for i in order), output=[])

    assert made["output"] == [{"id": i} for i in range(6)]


def test_items_without_an_index_keep_their_order() -> None:
    assert folded(*(done(None, id=i) for i in range(4)))["output"] == [{"id": i} for i in range(4)]


def test_what_nobody_reads_keeps_its_bytes() -> None:
    odd = b'{"n":12345678901234567890123,"f":1.50,"s":"\\u00fc"}'
    fold = Fold()
    fold.add_item(b'{"item":' + odd + b',"output_index":0}')

    made = fold.response(b'{"response":{"metadata":' + odd + b',"output":[]}}')

    assert made.count(odd) == 2


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"{}", b'{"item":', b'{"item":{},"output_index":"x"}', b"\xff", b"[" * 99_999]
)
def test_an_item_that_cannot_be_read_is_left_out(data: bytes) -> None:
    assert folded(done(0, id="a"), data, output=[])["output"] == [{"id": "a"}]


@pytest.mark.parametrize("data", [b"", b"{}", b'{"response":null}', b'{"response":[]}', b"{"])
def test_an_end_that_cannot_be_read_is_an_error_of_one_kind(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        Fold().response(data)


def test_a_terminal_event_is_filled_and_stays_an_event() -> None:
    fold = Fold()
    fold.add_item(done(0, id="a"))
    data = terminal(id="r", output=[])

    event = fold.event(b"event: response.completed\ndata: " + data + b"\n\n", data)

    assert kind_of(event) is Kind.COMPLETED
    assert event.endswith(b"\n\n")
    assert json.loads(data_of(event)) == {**json.loads(data), "response": {"id": "r", "output": [{"id": "a"}]}}


@pytest.mark.parametrize(
    "data",
    [
        terminal(id="r", output=[{"id": "own"}]),
        b"{}",
        b"{",
        b"\xff",
        b'{"type":"response.completed"}',
        b'{"type":5,"response":{}}',
        b'{"type":"response.completed","response":{"\xff":1}}',
    ],
)
def test_a_terminal_event_with_nothing_to_fill_is_the_very_object_that_came(data: bytes) -> None:
    fold = Fold()
    fold.add_item(done(0, id="a"))
    raw = b"event: response.completed\ndata: " + data + b"\n\n"

    assert fold.event(raw, data) is raw
