"""Whatever upstream writes and however the network cuts it: every byte goes on, in whole events, read alike."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.turn.sse import BY_TYPE, EventScanner, EventTooLargeError, Kind, Segment, data_of, kind_of

BOUND = 2**20
DELTA = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"x"}\n\n'

line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
types = st.sampled_from(["response.output_text.delta", "response.brand_new", "codex.something", *BY_TYPE])
data_lines = st.one_of(
    types.map(lambda name: b'data: {"type":"' + name.encode() + b'"}'),
    st.sampled_from([b"data: [DONE]", b"data:", b"data", b'data:{"type": 7}', b"data: {", b'data: {"type":"\xff"}']),
    st.binary(max_size=12).map(lambda b: b"data: " + b.replace(b"\r", b"").replace(b"\n", b"")),
)
lines = st.one_of(
    data_lines,
    types.map(lambda name: b"event: " + name.encode()),
    st.sampled_from([b": ping", b":", b"id: 7", b"retry: 10", b"nonsense", b"\xef\xbb\xbfevent: error", b""]),
)


@st.composite
def streams(draw: st.DrawFn, ends: st.SearchStrategy[bytes] = line_ends) -> bytes:
    """Events whose line ends may differ from line to line, perhaps with a beginning of one more."""
    events = draw(st.lists(st.lists(lines, max_size=4), max_size=6))
    stream = b"".join(b"".join(line + draw(ends) for line in event) + draw(ends) for event in events)
    return stream + draw(st.sampled_from([b"", b"data: cut", b"event: resp"]))


@st.composite
def cut_streams(draw: st.DrawFn, ends: st.SearchStrategy[bytes] = line_ends) -> tuple[bytes, list[bytes]]:
    """A stream and the chunks in which it comes."""
    stream = draw(streams(ends))
    cuts = sorted({0, len(stream), *draw(st.lists(st.integers(0, len(stream)), max_size=20))})
    return stream, [stream[a:b] for a, b in pairwise(cuts)]


def scan(chunks: list[bytes], *, bound: int = BOUND) -> tuple[list[Segment], EventScanner]:
    scanner = EventScanner(event_bytes_max=bound)
    return [segment for chunk in chunks for segment in scanner.feed(chunk)], scanner


def bytewise(stream: bytes) -> list[bytes]:
    return [stream[i : i + 1] for i in range(len(stream))]


def notable(segments: list[Segment]) -> list[tuple[Kind, bytes]]:
    """What a turn acts on, with the data it would read."""
    return [(s.kind, data_of(s.raw)) for s in segments if s.kind not in (Kind.ORDINARY, Kind.COMMENT)]


@given(cut_streams())
def test_nothing_is_lost_added_or_moved(cut: tuple[bytes, list[bytes]]) -> None:
    stream, chunks = cut

    segments, scanner = scan(chunks)

    passed = b"".join(s.raw for s in segments)
    assert stream.startswith(passed)
    assert scanner.has_partial == bool(stream[len(passed) :].strip())


@given(cut_streams())
def test_only_whole_events_come_out(cut: tuple[bytes, list[bytes]]) -> None:
    segments, _ = scan(cut[1])

    assert all(s.raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").endswith(b"\n\n") for s in segments)


@given(cut_streams())
def test_what_a_turn_acts_on_does_not_depend_on_how_the_network_cut_it(cut: tuple[bytes, list[bytes]]) -> None:
    stream, chunks = cut

    assert notable(scan(chunks)[0]) == notable(scan([stream])[0]) == notable(scan(bytewise(stream))[0])


@given(cut_streams(st.just(b"\n")))
def test_with_plain_line_ends_every_event_is_cut_where_it_ends(cut: tuple[bytes, list[bytes]]) -> None:
    stream, chunks = cut
    whole, in_pieces = scan([stream])[0], scan(chunks)[0]

    assert b"".join(s.raw for s in whole) == b"".join(s.raw for s in in_pieces)
    assert [s for s in whole if s.kind is not Kind.ORDINARY] == [s for s in in_pieces if s.kind is not Kind.ORDINARY]


@pytest.mark.parametrize(("name", "kind"), BY_TYPE.items())
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_notable_event_is_known_by_its_event_line_and_by_its_data(name: str, kind: Kind, end: bytes) -> None:
    named = b"event: " + name.encode() + end + b"data: {}" + end * 2
    typed = b'data: {"sequence_number":1,"type":"' + name.encode() + b'"}' + end * 2
    split = b'data: {"type":' + end + b'data: "' + name.encode() + b'"}' + end * 2

    for raw in (named, typed, split) if name != "[DONE]" else (b"data: [DONE]" + end * 2,):
        assert [s.kind for s in scan([raw])[0]] == [kind]
        assert b"".join(s.raw for s in scan([raw])[0]) == raw


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b": ping\n\n", Kind.COMMENT),
        (b"\n\n", Kind.COMMENT),
        (b"event: codex.unheard_of\ndata: {}\n\n", Kind.PRIVATE),
        (b'data: {"type":"codex.unheard_of"}\n\n', Kind.PRIVATE),
        (b"event: response.unheard_of\ndata: {}\n\n", Kind.ORDINARY),
        (b"data: \n\n", Kind.ORDINARY),
        (b"data: not json\n\n", Kind.ORDINARY),
        (b'data: {"type":17}\n\n', Kind.ORDINARY),
        (b'data: {"type":"\xff"}\n\n', Kind.ORDINARY),
        (b"data: " + b"[" * 50_000 + b"\n\n", Kind.ORDINARY),
        (b"id: 3\nevent: response.completed\ndata: {}\n\n", Kind.COMPLETED),
        (b'\xef\xbb\xbfevent: response.created\ndata: {"type":"response.created"}\n\n', Kind.PRELUDE),
    ],
)
def test_what_nobody_knows_is_ordinary(raw: bytes, kind: Kind) -> None:
    assert kind_of(raw) is kind
    assert [s.kind for s in scan([raw])[0]] == [kind]


def test_a_chunk_of_whole_ordinary_events_is_passed_on_as_the_very_object_that_came() -> None:
    chunk = DELTA * 50

    segments, _ = scan([chunk])

    assert len(segments) == 1
    assert segments[0].raw is chunk


def test_a_run_of_ordinary_events_is_cut_only_where_something_notable_stands() -> None:
    completed = b'event: response.completed\ndata: {"type":"response.completed"}\n\n'

    segments, _ = scan([DELTA * 3 + completed + DELTA * 2])

    assert segments == [
        Segment(Kind.ORDINARY, DELTA * 3),
        Segment(Kind.COMPLETED, completed),
        Segment(Kind.ORDINARY, DELTA * 2),
    ]


def test_a_line_end_cut_in_two_ends_one_line() -> None:
    segments, _ = scan([b"event: error\r", b"\ndata: {}\r", b"\n\r", b"\ndata: [DONE]\r\n\r\n"])

    assert [s.kind for s in segments] == [Kind.ERROR, Kind.DONE]


def test_an_event_beyond_the_bound_is_refused_before_it_is_whole() -> None:
    scanner = EventScanner(event_bytes_max=1000)
    scanner.feed(b"data: " + b"x" * 900)

    with pytest.raises(EventTooLargeError):
        scanner.feed(b"x" * 200)


def test_many_events_within_the_bound_may_exceed_it_together() -> None:
    segments, _ = scan([(DELTA * 10)[:-1], DELTA[-1:]], bound=len(DELTA) * 10)

    assert b"".join(s.raw for s in segments) == DELTA * 10


def cpu_of(size: int, chunk: int, line_end: bytes) -> float:
    """Seconds of CPU for one event of that size; the best of three, because others use this machine too."""
    stream = b"event: response.output_item.done" + line_end + b"data: " + b"x" * size + line_end * 2
    chunks = [stream[i : i + chunk] for i in range(0, len(stream), chunk)]

    def once() -> float:
        started = time.process_time()
        segments, _ = scan(chunks, bound=2**24)
        assert [s.kind for s in segments] == [Kind.ITEM_DONE]
        return time.process_time() - started

    return min(once() for _ in range(3))


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("chunk", [2**16, 2**10])
def test_a_large_event_costs_in_proportion_to_its_size(chunk: int, line_end: bytes) -> None:
    small, large = cpu_of(2**21, chunk, line_end), cpu_of(2**23, chunk, line_end)

    assert large < 0.4  # looking at all of it for every chunk takes seconds
    assert large < 9 * small + 0.02  # four times as large; sixteen would be its square


def test_single_bytes_cost_in_proportion_to_their_number() -> None:
    stream = b"data: " + b"x" * 300_000 + b"\r\n\r\n" + DELTA * 100
    started = time.process_time()

    segments, _ = scan(bytewise(stream))

    assert b"".join(s.raw for s in segments) == stream
    assert time.process_time() - started < 3


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), min_size=1), line_ends)
def test_data_lines_are_joined_as_the_standard_says(texts: list[str], end: bytes) -> None:
    raw = b"event: x" + end + b"".join(b"data: " + t.encode() + end for t in texts) + end

    assert data_of(raw) == "\n".join(texts).encode()


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)))
def test_json_data_comes_out_as_it_went_in(value: dict[str, object]) -> None:
    data = json.dumps(value).encode()

    assert data_of(b"data:" + data + b"\n\n") == data
