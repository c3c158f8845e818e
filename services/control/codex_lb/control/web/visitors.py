"""Who calls control over HTTP, as a closed set, and what each may do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, assert_never

from codex_lb.control.admin.permissions import ALL_PERMISSIONS, Permission
from codex_lb.control.domain.web_access import WebSecret, WebSession


@dataclass(frozen=True, slots=True)
class Local:
    """Somebody on this machine: who can start programs here can read the data folder too."""


@dataclass(frozen=True, slots=True)
class Automation:
    """Whoever shows the service token."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody with the cookie of a web session."""

    session: WebSession
    secret: WebSecret


@dataclass(frozen=True, slots=True)
class Stranger:
    """Nobody we know."""


Visitor: TypeAlias = Local | Automation | SignedIn | Stranger


def granted(visitor: Visitor) -> frozenset[Permission]:
    """What a visitor may do."""
    match visitor:
        case Local() | Automation() | SignedIn():
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
        case SignedIn(session=session):
            return session.session_id
        case Stranger():
            return "a stranger"
        case _:
            assert_never(visitor)


# What a visitor without a session sends in place of a session's own word: that no other site can send it is enough.
CSRF_WITHOUT_SESSION = "1"


def csrf_of(visitor: Visitor) -> str:
    """What a page of ours must send along for this visitor."""
    return visitor.secret.csrf if isinstance(visitor, SignedIn) else CSRF_WITHOUT_SESSION
