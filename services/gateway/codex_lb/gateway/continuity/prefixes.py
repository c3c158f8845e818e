"""How a conversation is known that its client gives no name: by how it begins, and by how far it had come before. Pure.

A request repeats all earlier ones of its conversation. Wherever the model answered, an earlier request ended; so the digest
of all that the client said up to there is the digest of that whole request. What the model said is left out: clients give it
back in forms of their own. The digests are the same at every gateway, and conversations that only begin alike are told apart
as soon as they differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from codex_lb.gateway.errors import UNREADABLE

ITEM_BYTES_MAX = 64 * 2**10  # of an item, to know it by; what is longer counts with its length
PREFIXES_MAX = 4  # the request itself, the two before it, and how the conversation began

_CLIENT_TYPES = frozenset({"message", "input_text", "input_image", "input_file", "item_reference"})


class ItemHead(msgspec.Struct):
    """What is read of an item to see who made it."""

    type: object = None
    role: object = None


@dataclass(frozen=True, eq=False, slots=True)
class Chain:
    """A conversation up to the end of a request."""

    digest: bytes  # of everything that the client said
    first: bytes  # of its first request
    before: tuple[bytes, ...]  # of the requests before, the latest first

    def keys(self) -> tuple[bytes, ...]:
        """Digests to know it by, the longest first."""
        return tuple(dict.fromkeys((self.digest, *self.before, self.first)))


def chain_of(instructions: bytes, items: Iterable[bytes]) -> Chain:
    """A request that holds its whole conversation."""
    return _extended(hashlib.sha256(_cut(instructions)).digest(), [], items)


def continued(behind: Chain, items: Iterable[bytes]) -> Chain:
    """A request that holds only what is new since an earlier one."""
    chain = _extended(behind.digest, [*reversed(behind.before), behind.digest], items)
    return Chain(chain.digest, behind.first, chain.before)


def _extended(digest: bytes, ends: list[bytes], items: Iterable[bytes]) -> Chain:
    running, has_said = hashlib.sha256(digest), False
    for item in items:
        if _is_clients(item):
            running.update(b"\0" + _cut(item))
            has_said = True
        elif has_said:
            ends.append(running.digest())
            running, has_said = hashlib.sha256(ends[-1]), False
    whole = running.digest() if has_said or not ends else ends.pop()
    return Chain(whole, ends[0] if ends else whole, tuple(ends[: -PREFIXES_MAX + 1 : -1]))


def _is_clients(item: bytes) -> bool:
    try:
        head = msgspec.json.decode(item, type=ItemHead)
    except UNREADABLE:
        return True
    if isinstance(head.type, str) and head.type.endswith("_output"):
        return True
    is_of_a_client = head.type is None or (isinstance(head.type, str) and head.type in _CLIENT_TYPES)
    return head.role != "assistant" and (head.role is not None or is_of_a_client)


def _cut(data: bytes) -> bytes:
    return data if len(data) <= ITEM_BYTES_MAX else data[:ITEM_BYTES_MAX] + str(len(data)).encode()
