"""How a conversation is known that its client gives no name: by how it begins, and by how far it had come before. Pure.

A request repeats all earlier ones of its conversation. Wherever the client spoke last before the model did, an earlier
request ended; so the digest of everything up to there is the digest of that whole request. The digests are the same at
every gateway, and conversations that only begin alike are told apart as soon as they differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

ITEM_BYTES_MAX = 64 * 2**10  # of an item, to know it by; what is longer counts with its length
PREFIXES_MAX = 4  # the request itself, the two before it, and how the conversation began

_MODEL_ROLES = frozenset({"assistant"})
_CLIENT_TYPES = frozenset({None, "message", "input_text", "input_image", "input_file", "item_reference"})


class ItemHead(msgspec.Struct):
    """What is read of an item to see who made it."""

    type: object = None
    role: object = None


def prefixes(instructions: bytes, items: Sequence[bytes]) -> tuple[bytes, ...]:
    """Digests of the conversation, the longest first: all of it, where earlier requests ended, how it began."""
    running = hashlib.sha256(_cut(instructions))
    ends: list[bytes] = []
    was_clients = False
    for item in items:
        maker = _maker(item)
        if maker == "thought":
            continue  # comes and goes with the account, and says nothing about who is talking
        if was_clients and maker == "model":
            ends.append(running.digest())
        was_clients = maker == "client"
        running.update(b"\0" + _cut(item))
    ends.append(running.digest())
    recent = ends[:0:-1][: PREFIXES_MAX - 1]
    return (*recent, ends[0])


def _maker(item: bytes) -> str:
    try:
        head = msgspec.json.decode(item, type=ItemHead)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "client"
    if head.type == "reasoning":
        return "thought"
    if head.role in _MODEL_ROLES:
        return "model"
    is_answer = isinstance(head.type, str) and head.type.endswith("_output")
    return "client" if is_answer or head.role is not None or head.type in _CLIENT_TYPES else "model"


def _cut(data: bytes) -> bytes:
    return data if len(data) <= ITEM_BYTES_MAX else data[:ITEM_BYTES_MAX] + str(len(data)).encode()
