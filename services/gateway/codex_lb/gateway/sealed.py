"""What a body holds that only one account can read: state that upstream sealed and gave its client to keep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final, TypeAlias

import msgspec

from codex_lb.gateway.errors import UNREADABLE
from codex_lb.kit.needle import Needle

CIPHERTEXT_BYTES_MIN = 16  # shorter is no ciphertext
REASONING, QUOTES = b'"reasoning"', b'""'
LEVELS = 2  # a body or an event holds items, and they may hold some
SMALL_BYTES = 8 * 2**20  # whatever such a body holds is read at once, in some 160 MB at worst
OBJECTS_MAX = 2**18  # of a larger one; a conversation has one for every hundred bytes or more
ABSENT: Final = msgspec.Raw()
_MARK = Needle(b'"encrypted_content"')


class Sealed(msgspec.Struct, gc=False):
    """What is read of an item, or of what holds items: all levels in one pass, for bodies are large."""

    type: msgspec.Raw = ABSENT
    encrypted_content: msgspec.Raw = ABSENT
    item: Held = None
    input: Held = None

    @property
    def is_thought(self) -> bool:
        """Whether it is reasoning."""
        kind = bytes(self.type)
        return kind == REASONING or (b"\\" in kind and _unescaped(kind) == b"reasoning")

    @property
    def is_sealed(self) -> bool:
        """Whether there is a ciphertext."""
        view = memoryview(self.encrypted_content)
        return len(view) >= CIPHERTEXT_BYTES_MIN + len(QUOTES) and view[0] == QUOTES[0]

    @property
    def ciphertext(self) -> bytes:
        """What is sealed."""
        text = bytes(self.encrypted_content)
        return _unescaped(text) if b"\\" in text else text[1:-1]


# What stands there may be anything; only objects and lists of them are looked into.
Scalar: TypeAlias = str | int | float | bool | None
Held: TypeAlias = Sealed | list[Sealed] | Scalar


class Loose(msgspec.Struct, gc=False):
    """The same of one level, whatever is in it."""

    type: msgspec.Raw = ABSENT
    encrypted_content: msgspec.Raw = ABSENT
    item: msgspec.Raw = ABSENT
    input: msgspec.Raw = ABSENT


def sealed_in(data: bytes, items: Held = None) -> list[Sealed]:
    """Everything in a body, an event or an item that has a ciphertext; the newest last, and what holds others behind them.

    `items` is the input of the body, where that was read before.
    """
    if not _MARK.is_in(data):
        return []
    if items is not None:
        return _found(Sealed(input=items), LEVELS)
    with suppress(*UNREADABLE):
        if is_read_at_once(data):
            return _found(msgspec.json.decode(data, type=Sealed), LEVELS)
    return list(_found_piece_by_piece(msgspec.Raw(data), LEVELS))


def is_read_at_once(data: bytes) -> bool:
    """Whether a pass over all levels makes no more objects than there is room for."""
    return len(data) <= SMALL_BYTES or data.count(b"{") <= OBJECTS_MAX


def _found(holder: Sealed, levels: int) -> list[Sealed]:
    found: list[Sealed] = []
    if levels and isinstance(holder.item, Sealed):
        found += _found(holder.item, levels - 1)
    if levels and isinstance(holder.input, list):
        for one in holder.input:
            if one.encrypted_content is not ABSENT or one.item or one.input:
                found += _found(one, levels - 1)
    if holder.is_sealed:
        found.append(holder)
    return found


def _found_piece_by_piece(raw: msgspec.Raw, levels: int) -> Iterator[Sealed]:
    """What cannot be read hides nothing but itself."""
    try:
        holder = msgspec.json.decode(raw, type=Loose)
        listed = msgspec.json.decode(holder.input, type=list[msgspec.Raw]) if _starts(holder.input, b"[") else []
    except UNREADABLE:
        return
    for one in (holder.item, *listed) if levels else ():
        if _starts(one, b"{") and _MARK.is_in(one):
            yield from _found_piece_by_piece(one, levels - 1)
    sealed = Sealed(holder.type, holder.encrypted_content)
    if sealed.is_sealed:
        yield sealed


def _starts(raw: msgspec.Raw, with_this: bytes) -> bool:
    return bytes(memoryview(raw)[:1]) == with_this


def _unescaped(text: bytes) -> bytes:
    """What a string in JSON says; itself where that cannot be told."""
    try:
        return msgspec.json.decode(text, type=str).encode("utf-8", "surrogatepass")
    except UNREADABLE:
        return text
