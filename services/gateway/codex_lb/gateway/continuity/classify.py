"""Who may serve a turn: the evidence its request holds, classified once, at ingress. Pure (architecture, section 4).

What only one account can read is named by digest, as an anchor; control knows whose it is. What merely makes one account
the better choice is an affinity: ids the client gives its conversation, or else what the conversation has held so far.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import msgspec

from codex_lb.gateway.continuity.prefixes import Chain, chain_of, continued
from codex_lb.gateway.errors import UNREADABLE, InvalidRequestError
from codex_lb.gateway.leasing.lease import Anchor, AnchorKind
from codex_lb.gateway.sealed import Held, Sealed, sealed_in
from codex_lb.kit.needle import Needle

RawHeader = tuple[bytes, bytes]

ANCHORS_MAX = 512  # of one request, the newest; a conversation that long has been compacted
FILES_LOOKED_AT_MAX = 2**15  # places in a request that may name a file, the newest; most of so many are no names
KEYS_MAX = 4

# Ids that clients give a conversation, the narrowest first (data-plane reference 4.7, clients reference 4 and 6).
SESSION_HEADERS = (
    b"thread-id", b"session_id", b"session-id", b"x-codex-session-id", b"x-codex-conversation-id", b"x-session-affinity",
    b"x-session-id",
)  # fmt: skip
# The first byte of an affinity key says what the conversation is known by; control shows it to its operator.
BY_SESSION, BY_CACHE_KEY, BY_PREFIX = b"s", b"c", b"p"
_FILE = Needle(b'"file_id"')
_FILE_ID = re.compile(rb'"file_id"\s*:\s*"([^"\\]{1,200})"')


@dataclass(frozen=True, slots=True)
class Continuity:
    """What ties a turn to accounts."""

    anchors: tuple[Anchor, ...] = ()
    affinity_keys: tuple[bytes, ...] = ()
    chain: Chain | None = None  # of a conversation that its client does not name

    @property
    def failure_keys(self) -> tuple[bytes, ...]:
        """By which it is known again if it failed: the narrowest; where nobody names it, the request before as well.

        A client that tries again may say something else, as a new end of what the model answered last.
        """
        return self.affinity_keys[: 1 if self.chain is None else 2]


NO_CONTINUITY = Continuity()


class Conversation(msgspec.Struct):
    """What is read of a body to know a conversation by."""

    prompt_cache_key: object = None
    instructions: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()


def classify(
    headers: Iterable[RawHeader], body: bytes, *, behind: Chain | None = None, items: Held = None
) -> Continuity:
    """Of a request to upstream, in its plain form. `behind`: what it continues without repeating it; `items`: its input,
    where that was read before.
    """
    anchors = anchors_in(body, items)
    if keys := session_keys(headers):
        return Continuity(anchors, keys)
    conversation = read_conversation(body)
    if conversation is None:
        return Continuity(anchors)
    if key := cache_key(conversation):
        return Continuity(anchors, (key,))
    said = _items_of(conversation.input)
    chain = continued(behind, said) if behind else chain_of(bytes(conversation.instructions), said)
    return Continuity(anchors, tuple(BY_PREFIX + digest for digest in chain.keys()[:KEYS_MAX]), chain)


def anchors_in(data: bytes, items: Held = None) -> tuple[Anchor, ...]:
    """Everything in a body, in an event, or in an item, that only one account can read; the newest last.

    `items` is the input of the body, where that was read before.
    """
    sealed = [_anchor_of(one) for one in sealed_in(data, items)[-ANCHORS_MAX:]]
    files = (_FILE_ID.match(data, at) for at in islice(_FILE.places(data), FILES_LOOKED_AT_MAX))
    ids = [file[1] for file in islice(filter(None, files), ANCHORS_MAX)]
    found = [*sealed, *(Anchor(AnchorKind.FILE, digest_of(file_id)) for file_id in reversed(ids))]
    return tuple(found[-ANCHORS_MAX:])


def _anchor_of(sealed: Sealed) -> Anchor:
    """A thought may be left out; whatever else is sealed is taken for what the turn means nothing without."""
    kind = AnchorKind.REASONING if sealed.is_thought else AnchorKind.COMPACTION
    return Anchor(kind, digest_of(sealed.ciphertext))


def session_keys(headers: Iterable[RawHeader]) -> tuple[bytes, ...]:
    """Keys of a conversation that headers name, the narrowest first."""
    named = dict(headers)
    keys = [BY_SESSION + digest_of(value) for name in SESSION_HEADERS if (value := named.get(name))]
    return tuple(dict.fromkeys(keys))[:KEYS_MAX]


def cache_key(conversation: Conversation) -> bytes:
    """The key of a conversation whose body names it; empty where it does not."""
    named = conversation.prompt_cache_key
    if not isinstance(named, str) or not named.strip():
        return b""
    return BY_CACHE_KEY + digest_of(named.strip().encode("utf-8", "surrogatepass"))


def read_conversation(body: bytes) -> Conversation | None:
    """What a conversation is known by; None when it cannot be read."""
    try:
        return msgspec.json.decode(body, type=Conversation)
    except UNREADABLE:
        return None


def _items_of(given: msgspec.Raw) -> list[bytes]:
    try:
        return [bytes(item) for item in msgspec.json.decode(given, type=list[msgspec.Raw])]
    except UNREADABLE:
        return [bytes(given)]


def digest_of(value: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(value).digest()


def without(body: bytes, foreign: frozenset[bytes]) -> bytes:
    """A body without the thoughts that its account cannot read; every other byte of its items stays.

    Raises InvalidRequestError when it cannot be taken apart: nothing of it may go there then.
    """
    try:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        items = msgspec.json.decode(members["input"], type=list[msgspec.Raw])
    except (*UNREADABLE, KeyError) as error:
        raise InvalidRequestError("The request body is not valid JSON") from error
    kept = [item for item in items if not _is_foreign_thought(bytes(item), foreign)]
    return msgspec.json.encode({**members, "input": kept})  # in one piece, for it may be megabytes


def _is_foreign_thought(item: bytes, foreign: frozenset[bytes]) -> bool:
    return any(a.kind is AnchorKind.REASONING and a.digest in foreign for a in anchors_in(item))
