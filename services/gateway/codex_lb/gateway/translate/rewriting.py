"""Changes inside JSON values that leave everything around them as it was, down to its bytes. Pure.

A change gives back the very value it was given when there is nothing to change; so does everything here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import zip_longest

import msgspec

from codex_lb.gateway.errors import UNREADABLE
from codex_lb.gateway.translate.members import Members, written

Change = Callable[[msgspec.Raw], msgspec.Raw]


def each(raw: msgspec.Raw, change: Change) -> msgspec.Raw:
    """A list with its elements changed; anything else stays."""
    try:
        elements = msgspec.json.decode(raw, type=list[msgspec.Raw])
    except UNREADABLE:
        return raw
    changed = [change(element) for element in elements]
    return raw if same(changed, elements) else written(changed)


def with_members(raw: msgspec.Raw, names: Collection[str], change: Change) -> msgspec.Raw:
    """An object with those of its members changed that have these names; anything else stays."""
    members = members_of(raw)
    if members is None:
        return raw
    changed = {name: change(members[name]) for name in names if name in members}
    return raw if same(changed.values(), map(members.get, changed)) else written({**members, **changed})


def without_members(raw: msgspec.Raw, names: Collection[str]) -> msgspec.Raw:
    """An object without the members of these names; anything else stays."""
    members = members_of(raw)
    if members is None or members.keys().isdisjoint(names):
        return raw
    return written({name: member for name, member in members.items() if name not in names})


def members_of(raw: msgspec.Raw) -> Members | None:
    """The members of an object; None for anything else."""
    try:
        return msgspec.json.decode(raw, type=Members)
    except UNREADABLE:
        return None


def same(new: Iterable[object], old: Iterable[object]) -> bool:
    """Whether nothing was changed: the very same values in the same order."""
    return all(one is other for one, other in zip_longest(new, old))
