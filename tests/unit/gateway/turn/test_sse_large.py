"""Events as large as they may be, cut anywhere: every byte goes on, at a cost in proportion to its size."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from codex_lb.gateway.settings import GatewaySettings
from codex_lb.gateway.turn.sse import EventScanner, EventTooLargeError, Kind

BOUND = 16 * 2**20
CHUNKS = (1, 3, 1000, 2**14, 2**16, 2**18)  # what sockets give, and what they may come to
NOISE = random.Random(4).randbytes(2**20).replace(b"\r", b"x").replace(b"\n", b"y")


def test_the_bound_is_the_one_that_is_set_by_default() -> None:
    assert GatewaySettings().max_sse_event_bytes == BOUND


def event(size: int, end: bytes, *, lines: int = 1) -> bytes:
    """An event of exactly so many bytes, its data in as many lines."""
    start = b"event: response.output_item.done" + end
    overhead = len(start) + lines * len(b"data: " + end) + len(end)
    data = (NOISE * (size // len(NOISE) + 1))[: size - overhead]
    width = len(data) // lines
    parts = [data[n * width : (n + 1) * width if n < lines - 1 else None] for n in range(lines)]
    return start + b"".join(b"data: " + part + end for part in parts) + end


def cut(stream: bytes, luck: random.Random, *, smallest: int) -> Iterator[bytes]:
    """The stream in pieces of all sizes; long runs of tiny ones are kept short."""
    at = 0
    while at < len(stream):
        size = luck.choice([n for n in CHUNKS if n >= smallest]) + luck.randrange(3)
        for _ in range(luck.randrange(1, 20)):
            yield stream[at : at + size]
            at += size


@pytest.mark.parametrize("seed", range(12))
def test_what_goes_in_comes_out_however_large_and_however_cut(seed: int) -> None:
    luck = random.Random(seed)
    end = luck.choice([b"\n", b"\r\n", b"\r"])
    sizes = [BOUND if seed % 3 == 0 else luck.randrange(2**20, BOUND), *(luck.randrange(80, 5000) for _ in range(20))]
    luck.shuffle(sizes)
    stream = b"".join(event(size, end, lines=luck.choice([1, 2, 100]) if size > 2**20 else 1) for size in sizes)
    scanner = EventScanner(event_bytes_max=BOUND)

    segments = [
        segment for chunk in cut(stream, luck, smallest=1 if seed % 2 else 1000) for segment in scanner.feed(chunk)
    ]

    assert b"".join(segment.raw for segment in segments) == stream
    assert [segment.kind for segment in segments] == [Kind.ITEM_DONE] * len(sizes)
    assert not scanner.has_partial


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_an_event_that_goes_on_beyond_the_bound_is_refused_within_one_piece_of_it(end: bytes) -> None:
    stream, piece = event(BOUND + 2**20, end), 2**16
    scanner = EventScanner(event_bytes_max=BOUND)
    for start in range(0, BOUND, piece):
        assert scanner.feed(stream[start : start + piece]) == []

    with pytest.raises(EventTooLargeError):
        scanner.feed(stream[BOUND : BOUND + piece])


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("chunk", [2**14, 2**16, 2**18])
def test_eight_mebibytes_cost_a_small_part_of_a_second(chunk: int, end: bytes) -> None:
    stream = event(8 * 2**20, end)
    chunks = [stream[start : start + chunk] for start in range(0, len(stream), chunk)]

    def once() -> float:
        scanner = EventScanner(event_bytes_max=BOUND)
        started = time.process_time()
        passed = sum(len(segment.raw) for one in chunks for segment in scanner.feed(one))
        took = time.process_time() - started
        assert passed == len(stream)
        return took

    assert min(once() for _ in range(5)) < 0.4  # 12 ms, or 55 where lines end in CRLF, while others use the machine too
