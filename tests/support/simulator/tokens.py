"""How many tokens a request costs and how many of them an account has cached. Deterministic.

A token is four bytes of JSON. The cache knows every prefix of items that the account has seen, as a chain of digests:
model, instructions and tools first, then item by item.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from tests.support.simulator.prompts import JsonObject

_BYTES_PER_TOKEN: Final = 4
_PREFIXES_MAX: Final = 50_000  # per account; about 5 MB
REASONING_TOKENS: Final = 16

_encoder: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Prefix:
    """Everything up to one item: its digest, and how many tokens it holds."""

    digest: bytes
    tokens: int


@dataclass(frozen=True, slots=True)
class Cost:
    """The usage of one answer."""

    input: int
    cached: int
    output: int
    reasoning: int

    def as_json(self) -> JsonObject:
        """As ``response.usage``."""
        return {
            "input_tokens": self.input,
            "input_tokens_details": {"cached_tokens": self.cached},
            "output_tokens": self.output,
            "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": self.input + self.output,
        }


NOTHING: Final = Prefix(b"", 0)


def prefixes(body: JsonObject, *, behind: Prefix = NOTHING) -> list[Prefix]:
    """The chain of prefixes of a request, shortest first; ``behind``: what a previous response already holds."""
    chain = [_preamble(body) if behind is NOTHING else behind]
    given = body.get("input")
    for item in given if isinstance(given, list) else []:
        chain.append(_extended(chain[-1], item))
    return chain


def count(text: str) -> int:
    """The tokens of a text we answer."""
    return max(1, len(text.encode()) // _BYTES_PER_TOKEN)


class PrefixCache:
    """The prefixes one account has seen."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def cached(self, chain: Sequence[Prefix]) -> int:
        """The tokens of the longest prefix seen before; remembers the whole chain."""
        longest = next((prefix.tokens for prefix in reversed(chain) if prefix.digest in self._seen), 0)
        for prefix in chain:
            self._seen[prefix.digest] = None
        while len(self._seen) > _PREFIXES_MAX:
            self._seen.popitem(last=False)
        return longest


def _preamble(body: JsonObject) -> Prefix:
    """Model, instructions and tools; a request without the latter two has nothing worth caching yet."""
    said = [body.get("instructions"), body.get("tools")]
    preamble = _extended(NOTHING, [body.get("model"), *said])
    return preamble if any(said) else Prefix(preamble.digest, 0)


def _extended(prefix: Prefix, item: object) -> Prefix:
    encoded = _encoder.encode(item)
    digest = hashlib.blake2b(prefix.digest + encoded, digest_size=16).digest()
    return Prefix(digest, prefix.tokens + max(1, len(encoded) // _BYTES_PER_TOKEN))
