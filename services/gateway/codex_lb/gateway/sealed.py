"""What a body holds that only one account can read: state that upstream sealed and gave its client to keep."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

CIPHERTEXT_CHARS_MIN = 16  # shorter is no ciphertext


class Sealed(msgspec.Struct):
    """What is read of an item, or of what holds items: all levels in one pass, for bodies are large."""

    type: object = None
    encrypted_content: object = None
    item: Held = None
    input: Held = None


# What stands there may be anything; only objects and lists of objects are looked into.
Scalar: TypeAlias = str | int | float | bool | None
Held: TypeAlias = Sealed | list[Sealed | list[msgspec.Raw] | Scalar] | Scalar


def sealed_in(holder: Sealed, *, levels: int = 2) -> list[Sealed]:
    """Everything that has a ciphertext: what it holds, then itself."""
    found: list[Sealed] = []
    for held in (holder.item, holder.input) if levels else ():
        for one in held if isinstance(held, list) else (held,):
            if isinstance(one, Sealed) and (one.encrypted_content or one.item or one.input):
                found += sealed_in(one, levels=levels - 1)
    if isinstance(holder.encrypted_content, str) and len(holder.encrypted_content) >= CIPHERTEXT_CHARS_MIN:
        found.append(holder)
    return found
