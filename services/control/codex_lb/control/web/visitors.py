"""Who calls control over HTTP, as a closed set, and what each may do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, assert_never

from codex_lb.control.admin.permissions import ALL_PERMISSIONS, Permission


@dataclass(frozen=True, slots=True)
class Local:
    """Somebody on this machine: who can start programs here can read the data folder too."""


@dataclass(frozen=True, slots=True)
class Automation:
    """Whoever shows the service token."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """Nobody we know."""


Visitor: TypeAlias = Local | Automation | Stranger


def granted(visitor: Visitor) -> frozenset[Permission]:
    """What a visitor may do."""
    match visitor:
        case Local() | Automation():
            return ALL_PERMISSIONS
        case Stranger():
            return frozenset()
        case _:
            assert_never(visitor)


def name_of(visitor: Visitor) -> str:
    """What the log calls a visitor."""
    match visitor:
        case Local():
            return "this machine"
        case Automation():
            return "service token"
        case Stranger():
            return "a stranger"
        case _:
            assert_never(visitor)
