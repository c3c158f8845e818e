"""Reads a request body within bounds, unpacked if it came packed (data-plane reference 8.1)."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import suppress

import zstandard
from starlette.types import Receive

from codex_lb.gateway.errors import BodyTooLargeError, InvalidRequestError

RATIO_MAX = 100  # unpacked bytes per packed byte: conversations shrink to a tenth, bombs to a thousandth
RATIO_FREE_BYTES = 8 * 2**20  # small bodies may shrink as they like
ENCODINGS_MAX = 3
WINDOW_BYTES_MAX = 2**27  # what a zstd frame may make us keep while it is unpacked
STEP_BYTES = 2**20  # unpacked at a time, so that a bomb is noticed after a step
SLICE_BYTES = 64 * 2**10  # given to zlib at a time: it copies what a step leaves over, of a large body once per step


class ClientGoneError(Exception):
    """The client hung up before its request was whole."""


async def read_body(receive: Receive, *, content_length: bytes, bytes_max: int, too_large_status: int) -> bytes:
    """The body as it was sent. Raises BodyTooLargeError, or ClientGoneError when the client is gone before its end."""
    if content_length.isdigit() and int(content_length) > bytes_max:
        raise BodyTooLargeError(status=too_large_status)
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > bytes_max:
            raise BodyTooLargeError(status=too_large_status)
        if piece:
            pieces.append(piece)
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def unpack(body: bytes, content_encoding: bytes, *, bytes_max: int, too_large_status: int) -> bytes:
    """The body without its content encodings, the last one applied first. Raises InvalidRequestError."""
    encodings = [e.strip().lower() for e in content_encoding.split(b",") if e.strip()]
    if len(encodings) > ENCODINGS_MAX:
        raise InvalidRequestError("Unsupported Content-Encoding")
    for encoding in reversed(encodings):
        bound = min(bytes_max, max(RATIO_FREE_BYTES, RATIO_MAX * len(body)))
        unpacker = UNPACKERS.get(encoding)
        if unpacker is None:
            raise InvalidRequestError("Unsupported Content-Encoding")
        try:
            body = unpacker(body, bound)
        except OverflowError as error:
            raise BodyTooLargeError(status=too_large_status) from error
        except (zlib.error, zstandard.ZstdError, EOFError) as error:
            message = "Request body is compressed but could not be decompressed"
            raise InvalidRequestError(message) from error
    return body


def _unzstd(body: bytes, bytes_max: int) -> bytes:
    """One or more zstd frames. Raises OverflowError beyond the bound."""
    size = zstandard.frame_content_size(body)
    if 0 < size <= bytes_max:  # it says how much it holds: unpacked in one piece, unless there is more behind it
        with suppress(zstandard.ZstdError):
            return zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX).decompress(
                body, max_output_size=size, allow_extra_data=False
            )
    out = bytearray()
    reader = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX).stream_reader(body, read_across_frames=True)
    while piece := reader.read(STEP_BYTES):
        out += piece
        if len(out) > bytes_max:
            raise OverflowError
    if body and not out:
        raise EOFError
    return bytes(out)  # a frame that is cut later gives a cut document, which does not parse


def _inflate(body: bytes, bytes_max: int, *, window_bits: int) -> bytes:
    """One or more members, as gzip allows. Raises OverflowError beyond the bound, EOFError when the end is missing."""
    out = bytearray()
    inflater = zlib.decompressobj(wbits=window_bits)
    for start in range(0, len(body), SLICE_BYTES):
        rest = body[start : start + SLICE_BYTES]
        while rest:
            if inflater.eof:
                inflater = zlib.decompressobj(wbits=window_bits)
            out += inflater.decompress(rest, STEP_BYTES)
            if len(out) > bytes_max:
                raise OverflowError
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    while not inflater.eof:  # what zlib holds back for want of room, at most a step
        piece = inflater.decompress(b"", STEP_BYTES)
        out += piece
        if len(out) > bytes_max:
            raise OverflowError
        if not piece:
            raise EOFError
    return bytes(out)


def _gunzip(body: bytes, bytes_max: int) -> bytes:
    return _inflate(body, bytes_max, window_bits=31)


def _undeflate(body: bytes, bytes_max: int) -> bytes:
    """HTTP's deflate is zlib's format; some clients send the raw one."""
    is_zlib = len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _inflate(body, bytes_max, window_bits=15 if is_zlib else -15)


def _as_is(body: bytes, _bytes_max: int) -> bytes:
    return body


UNPACKERS: dict[bytes, Callable[[bytes, int], bytes]] = {
    b"zstd": _unzstd,
    b"gzip": _gunzip,
    b"x-gzip": _gunzip,
    b"deflate": _undeflate,
    b"identity": _as_is,
}
