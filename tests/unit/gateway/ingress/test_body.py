"""A body is read whole and unpacked within bounds, or refused before it costs anything."""

from __future__ import annotations

import gzip
import random
import time
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive

from codex_lb.gateway.errors import BodyTooLargeError, InvalidRequestError
from codex_lb.gateway.ingress.body import RATIO_FREE_BYTES, ClientGoneError, read_body, unpack

MIB = 2**20


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": zstandard.compress,
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "identity": lambda data: data,
}
PACKED = [(name, pack) for name, pack in PACKERS.items() if name != "identity"]


def unpacked(body: bytes, encoding: str, *, bytes_max: int = 128 * MIB) -> bytes:
    return unpack(body, encoding.encode(), bytes_max=bytes_max, too_large_status=400)


def arriving(*pieces: bytes, gone: bool = False) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": p, "more_body": True} for p in pieces]
    messages.append({"type": "http.disconnect"} if gone else {"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        return messages.pop(0)

    return receive


@given(st.binary(min_size=1, max_size=2000), st.lists(st.sampled_from(sorted(PACKERS)), max_size=3))
def test_what_was_packed_comes_out_whatever_was_stacked(body: bytes, encodings: list[str]) -> None:
    packed = body
    for encoding in encodings:
        packed = PACKERS[encoding](packed)

    assert unpacked(packed, ", ".join(encodings)) == body
    assert unpacked(packed, ",".join(e.upper() for e in encodings)) == body


@given(st.binary(min_size=1, max_size=2000))
def test_deflate_is_understood_raw_too(body: bytes) -> None:
    assert unpacked(raw_deflate(body), "deflate") == body


@pytest.mark.parametrize(("encoding", "pack"), PACKED)
def test_a_body_of_several_members_is_one_body(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    assert unpacked(pack(b'{"a":') + pack(b"1}"), encoding) == b'{"a":1}'


@pytest.mark.parametrize(("encoding", "pack"), PACKED)
def test_a_large_body_comes_out_whole(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    body = random.Random(5).randbytes(5 * MIB) + b"a" * 3 * MIB

    assert unpacked(pack(body), encoding) == body


def test_a_body_that_needs_no_unpacking_is_the_very_object_that_came() -> None:
    body = b"{}" * 1000

    assert unpacked(body, "") is body
    assert unpacked(body, "identity") is body


@pytest.mark.parametrize("encoding", ["br", "compress", "zstd, br", "br, gzip", "gzip;q=1", "zstd zstd", "\xff"])
def test_an_encoding_that_is_not_ours_is_refused(encoding: str) -> None:
    body = gzip.compress(b"{}") if encoding.endswith("gzip") else zstandard.compress(b"{}")

    with pytest.raises(InvalidRequestError, match="Unsupported Content-Encoding") as refused:
        unpack(body, encoding.encode("latin-1"), bytes_max=MIB, too_large_status=400)

    assert refused.value.status == 400


def test_a_tower_of_encodings_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="Unsupported Content-Encoding"):
        unpacked(b"{}", "identity, identity, identity, identity")


@pytest.mark.parametrize(("encoding", "pack"), PACKED)
@pytest.mark.parametrize("spoilt", ["plain", "cut early", "zeros", "head flipped", "followed by rubbish"])
def test_a_corrupt_body_is_refused(encoding: str, pack: Callable[[bytes], bytes], spoilt: str) -> None:
    packed = pack(bytes(random.Random(3).choices(b"abcdefgh", k=400)))
    bodies = {
        "plain": b'{"model": "x"}',
        "cut early": packed[:6],
        "zeros": bytes(20),
        "head flipped": bytes([packed[0] ^ 0xFF, packed[1] ^ 0xFF]) + packed[2:],
        "followed by rubbish": packed + b"rubbish that is no member",
    }

    with pytest.raises(InvalidRequestError, match="could not be decompressed") as refused:
        unpacked(bodies[spoilt], encoding)

    assert (refused.value.status, refused.value.code) == (400, "invalid_request_error")


@pytest.mark.parametrize(("encoding", "pack"), PACKED)
@given(at=st.integers(1, 100))
def test_a_body_that_was_cut_is_refused_or_stays_cut(encoding: str, pack: Callable[[bytes], bytes], at: int) -> None:
    body = bytes(random.Random(3).choices(b"abcdefgh", k=400))

    try:
        out = unpacked(pack(body)[:-at], encoding)
    except InvalidRequestError:
        return
    assert body.startswith(out)


@given(st.binary(max_size=200), st.sampled_from([name for name, _ in PACKED]))
def test_any_bytes_unpack_or_are_refused(body: bytes, encoding: str) -> None:
    with suppress(InvalidRequestError):
        assert len(unpacked(body, encoding, bytes_max=MIB)) <= MIB


def bomb(encoding: str) -> bytes:
    """A few hundred kilobytes at most that say they are 300 MiB."""
    block = b"\0" * MIB
    if encoding == "zstd":
        packer = zstandard.ZstdCompressor().compressobj()
    else:
        packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    return b"".join(packer.compress(block) for _ in range(300)) + packer.flush()


@pytest.mark.parametrize("encoding", ["zstd", "gzip", "deflate"])
def test_a_bomb_is_noticed_early_and_costs_little(encoding: str) -> None:
    packed = bomb(encoding)
    tracemalloc.start()
    started = time.process_time()

    with pytest.raises(BodyTooLargeError):
        unpacked(packed, encoding)

    taken_s, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken_s < 2
    assert peak < 100 * max(len(packed), RATIO_FREE_BYTES // 100) + 16 * MIB


def test_a_bomb_in_a_bomb_is_noticed() -> None:
    with pytest.raises(BodyTooLargeError):
        unpacked(gzip.compress(bomb("gzip")), "gzip, gzip")


@pytest.mark.parametrize(("encoding", "pack"), PACKED)
def test_the_bound_is_that_of_the_unpacked_body(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(b"x" * 1000)

    assert len(unpacked(packed, encoding, bytes_max=1000)) == 1000
    with pytest.raises(BodyTooLargeError):
        unpacked(packed, encoding, bytes_max=999)


def test_unpacking_costs_in_proportion_to_the_body() -> None:
    def cost(size: int) -> float:
        packed = gzip.compress(random.Random(1).randbytes(size), compresslevel=1)
        started = time.process_time()
        unpacked(packed, "gzip")
        return time.process_time() - started

    assert cost(32 * MIB) < 9 * cost(8 * MIB) + 0.1  # four times as large


async def test_a_body_is_its_pieces_joined() -> None:
    body = await read_body(arriving(b"ab", b"", b"cd"), content_length=b"4", bytes_max=4, too_large_status=400)

    assert body == b"abcd"


async def test_a_body_in_one_piece_is_the_very_object_that_came() -> None:
    piece = b"{}" * 100

    assert await read_body(arriving(piece), content_length=b"", bytes_max=MIB, too_large_status=400) is piece


@pytest.mark.parametrize("status", [400, 413])
async def test_a_body_that_says_it_is_too_large_is_not_read(status: int) -> None:
    async def never() -> Message:
        raise AssertionError

    with pytest.raises(BodyTooLargeError) as refused:
        await read_body(never, content_length=b"11", bytes_max=10, too_large_status=status)

    assert (refused.value.status, refused.value.code) == (status, "payload_too_large")


@pytest.mark.parametrize("declared", [b"", b"3", b"-1", b"many", "²".encode()])
async def test_a_body_that_is_larger_than_it_said_is_refused_where_it_passes_the_bound(declared: bytes) -> None:
    with pytest.raises(BodyTooLargeError):
        await read_body(arriving(b"x" * 6, b"x" * 6), content_length=declared, bytes_max=10, too_large_status=413)


async def test_a_client_that_leaves_early_leaves_no_request() -> None:
    with pytest.raises(ClientGoneError):
        await read_body(arriving(b"{", gone=True), content_length=b"2", bytes_max=10, too_large_status=413)


async def test_no_body_is_an_empty_one() -> None:
    assert await read_body(arriving(), content_length=b"", bytes_max=10, too_large_status=413) == b""
