"""How people get in with a browser: links that work once, and the web sessions they begin. Pure; of what is secret in
either only the SHA-256 is kept.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from codex_lb.control.domain.ids import WebSessionId

SESSION_IDLE = timedelta(days=1)  # without a request; whoever comes back sooner stays
SESSION_MAX = timedelta(days=7)  # whatever happens
SEEN_EVERY = timedelta(minutes=1)  # how exactly it is known when a session was last seen: a write for each
SESSIONS_MAX = 100  # beyond it the one that was not seen longest ends
LINK_TTL = timedelta(minutes=10)  # of a link that somebody asked for, and is about to open
LINKS_MAX = 20  # of those
USER_AGENT_CHARS_MAX = 200

BOOTSTRAP = "bootstrap"  # the link of the first visit; there is one
FIXED = "fixed"  # the token that the environment fixes; there is one


class Way(StrEnum):
    """How somebody came in."""

    BOOTSTRAP = "bootstrap"  # with the token of the first visit
    LINK = "link"  # with a link that somebody on the host asked for


@dataclass(frozen=True, slots=True)
class WebSecret:
    """What a link or a cookie carries: shown once, then known by its digest."""

    text: str

    def __repr__(self) -> str:
        return "WebSecret(…)"  # must not reach a log by way of a repr

    @property
    def digest(self) -> bytes:
        """What is kept of it."""
        return hashlib.sha256(self.text.encode()).digest()

    @property
    def csrf(self) -> str:
        """What a page that was let in sends along, and no other site's page can know: derived, so that nobody keeps it."""
        return urlsafe_b64encode(hashlib.sha256(b"csrf " + self.text.encode()).digest()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class SignInLink:
    """Lets one person in, once."""

    link_id: str
    way: Way
    digest: bytes
    created_at: datetime
    expires_at: datetime | None  # None: when it is used
    spent_at: datetime | None = None

    def works_at(self, now: datetime) -> bool:
        """Whether it lets anybody in."""
        return self.spent_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class WebSession:
    """A person who is in, with one browser."""

    session_id: WebSessionId
    digest: bytes
    way: Way
    created_at: datetime
    seen_at: datetime
    address: str  # from where it began
    user_agent: str

    @property
    def expires_at(self) -> datetime:
        """When it ends, if it is not seen again before."""
        return min(self.created_at + SESSION_MAX, self.seen_at + SESSION_IDLE)

    def lives_at(self, now: datetime) -> bool:
        """Whether it lets its browser in."""
        return now < self.expires_at


def matching(links: Iterable[SignInLink], secret: WebSecret) -> SignInLink | None:
    """The link of this secret. It takes as long for a wrong one, and for one that is nearly right."""
    found = None
    digest = secret.digest
    for link in links:
        if hmac.compare_digest(link.digest, digest):
            found = link
    return found


def superfluous(sessions: Iterable[WebSession]) -> list[WebSession]:
    """Those that end so that there is room for one more: the ones that were not seen longest."""
    by_age = sorted(sessions, key=lambda session: session.seen_at)
    return by_age[: max(0, len(by_age) - SESSIONS_MAX + 1)]
