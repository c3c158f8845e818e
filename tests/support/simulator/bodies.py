"""Request bodies as they come over the wire: plain, gzip, deflate or zstd. Pure."""

import gzip
import zlib
from typing import Final

import msgspec
import zstandard

from tests.support.simulator import faults
from tests.support.simulator.prompts import JsonObject

BODY_BYTES_MAX: Final = 64 * 2**20  # above every client's own bound


def unpack(raw: bytes, encoding: str) -> bytes:
    """The body without its content encoding. Raises RefusedError."""
    try:
        match encoding.strip().lower():
            case "" | "identity":
                return raw
            case "zstd":
                return zstandard.ZstdDecompressor().decompressobj().decompress(raw)
            case "gzip":
                return gzip.decompress(raw)
            case "deflate":
                return zlib.decompress(raw)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise faults.RefusedError(faults.detail("Could not decompress the body")) from error
    raise faults.RefusedError(faults.detail(f"Unsupported content encoding: {encoding}", 415))


def decode(data: bytes) -> JsonObject:
    """A JSON object. Raises RefusedError."""
    try:
        return msgspec.json.decode(data, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise faults.RefusedError(faults.detail("Invalid JSON body")) from error
