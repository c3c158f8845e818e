"""Who may serve a turn: the evidence its request holds, classified once, at ingress. Pure (architecture, section 4).

What only one account can read is named by digest, as an anchor; control knows whose it is. What merely makes one account
the better choice is an affinity: ids the client gives its conversation, or else how the conversation begins.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from codex_lb.gateway.leasing.lease import Anchor, AnchorKind

RawHeader = tuple[bytes, bytes]

ANCHORS_MAX = 512  # of one request, the newest; a conversation that long has been compacted
BEGINNING_BYTES_MAX = 64 * 2**10  # of a conversation, to know it by
KEYS_MAX = 4

# Ids that clients give a conversation, the narrowest first (data-plane reference 4.7, clients reference 4 and 6).
SESSION_HEADERS = (
    b"thread-id", b"session-id", b"session_id", b"x-codex-session-id", b"x-codex-conversation-id", b"x-session-affinity",
    b"x-session-id",
)  # fmt: skip
CIPHERTEXT_CHARS_MIN = 16  # shorter is no ciphertext
_FILE_ID = re.compile(rb'"file_id"\s*:\s*"([^"\\]{1,200})"')


@dataclass(frozen=True, slots=True)
class Continuity:
    """What ties a turn to accounts."""

    anchors: tuple[Anchor, ...] = ()
    affinity_keys: tuple[bytes, ...] = ()


NO_CONTINUITY = Continuity()


class Conversation(msgspec.Struct):
    """What is read of a body to know a conversation by."""

    prompt_cache_key: object = None
    instructions: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()


def classify(headers: Iterable[RawHeader], body: bytes) -> Continuity:
    """Of a request to upstream, in its plain form."""
    return Continuity(anchors_in(body), affinity_keys(headers, body))


def anchors_in(data: bytes) -> tuple[Anchor, ...]:
    """Everything in a body, in an event, or in an item, that only one account can read; the newest last."""
    found: list[Anchor] = []
    if b'"encrypted_content"' in data:
        found += _sealed_in(data)
    if b'"file_id"' in data:
        found += [Anchor(AnchorKind.FILE, digest_of(match[1])) for match in _FILE_ID.finditer(data)]
    return tuple(found[-ANCHORS_MAX:])


class Sealed(msgspec.Struct):
    """What is read of an item, or of what holds items."""

    type: object = None
    encrypted_content: object = None
    item: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()


def _sealed_in(data: bytes, *, levels: int = 2) -> list[Anchor]:
    """Ciphertexts. A thought may be left out; whatever else is sealed is taken for what the turn means nothing without."""
    try:
        read = msgspec.json.decode(data, type=Sealed)
        inner = [read.item] if bytes(read.item) else []
        if bytes(read.input).startswith(b"["):
            inner += msgspec.json.decode(read.input, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    sealed = [bytes(one) for one in inner if levels and b'"encrypted_content"' in bytes(one)]
    found = [anchor for one in sealed for anchor in _sealed_in(one, levels=levels - 1)]
    if isinstance(read.encrypted_content, str) and len(read.encrypted_content) >= CIPHERTEXT_CHARS_MIN:
        kind = AnchorKind.REASONING if read.type == "reasoning" else AnchorKind.COMPACTION
        found.append(Anchor(kind, digest_of(read.encrypted_content.encode("utf-8", "surrogatepass"))))
    return found


def affinity_keys(headers: Iterable[RawHeader], body: bytes) -> tuple[bytes, ...]:
    """Keys of the conversation, the narrowest first; by its beginning only where the client names none."""
    named = dict(headers)
    keys = [digest_of(b"session:" + value) for name in SESSION_HEADERS if (value := named.get(name))]
    if keys:
        return tuple(dict.fromkeys(keys))[:KEYS_MAX]
    try:
        conversation = msgspec.json.decode(body, type=Conversation)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    cache_key = conversation.prompt_cache_key
    if isinstance(cache_key, str) and cache_key.strip():
        return (digest_of(b"cache:" + cache_key.strip().encode("utf-8", "surrogatepass")),)
    return (digest_of(b"beginning:" + beginning(conversation)),)


def beginning(conversation: Conversation) -> bytes:
    """What stays the same while a conversation grows: its instructions and all up to the first word of its user."""
    parts = [bytes(conversation.instructions)[:BEGINNING_BYTES_MAX]]
    try:
        items = msgspec.json.decode(conversation.input, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b"\0".join([*parts, bytes(conversation.input)[:BEGINNING_BYTES_MAX]])
    for item in items:
        parts.append(bytes(item)[:BEGINNING_BYTES_MAX])
        if b'"user"' in parts[-1]:
            break
    return b"\0".join(parts)


def digest_of(value: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(value).digest()


def without(body: bytes, foreign: frozenset[bytes]) -> bytes:
    """A body without the thoughts that its account cannot read; every other byte of its items stays."""
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    items = msgspec.json.decode(members["input"], type=list[msgspec.Raw])
    kept = [item for item in items if not _is_foreign_thought(bytes(item), foreign)]
    return msgspec.json.encode({**members, "input": msgspec.Raw(msgspec.json.encode(kept))})


def _is_foreign_thought(item: bytes, foreign: frozenset[bytes]) -> bool:
    return any(a.kind is AnchorKind.REASONING and a.digest in foreign for a in anchors_in(item))
