"""Shows and drops affinities. Answered from soft state, so it works while the database is away."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime, timedelta

from codex_lb.control.domain.continuity import Affinity, AffinityKind
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.errors import InvalidPageTokenError
from codex_lb.control.usecases.lease_ports import Continuities
from codex_lb.control.usecases.pages import PAGE_SIZE, PAGE_SIZE_MAX
from codex_lb.kit.clock import Clock


@dataclass(frozen=True, slots=True)
class AffinityFilter:
    """Which affinities are meant; what is None does not matter."""

    key: bytes | None = None
    account_id: AccountId | None = None
    kind: AffinityKind | None = None
    idle_min: timedelta = timedelta()

    def matches(self, affinity: Affinity, now: datetime) -> bool:
        """Whether it is one of them."""
        return (
            self.key in (None, affinity.key)
            and self.account_id in (None, affinity.account_id)
            and self.kind in (None, affinity.kind)
            and affinity.used_at <= now - self.idle_min
        )


@dataclass(frozen=True, slots=True)
class AffinityPage:
    """Some of them."""

    affinities: tuple[Affinity, ...]
    ttl: timedelta  # how long they count without being used
    next_page_token: str  # empty on the last page
    total: int


class ManageAffinities:
    """The verbs list and purge."""

    def __init__(self, continuities: Continuities, clock: Clock) -> None:
        self._continuities = continuities
        self._clock = clock

    async def page(self, wanted: AffinityFilter, *, size: int, token: str) -> AffinityPage:
        """Those behind the page token's, the last used first. Raises InvalidPageTokenError."""
        size = min(size, PAGE_SIZE_MAX) if size > 0 else PAGE_SIZE
        found = sorted(await self._matching(wanted), key=_position, reverse=True)
        before = _read_token(token) if token else None
        rest = found if before is None else [a for a in found if _position(a) < before]
        next_token = _write_token(_position(rest[size - 1])) if len(rest) > size else ""
        return AffinityPage(tuple(rest[:size]), self._continuities.affinity_ttl, next_token, len(found))

    async def purge(self, wanted: AffinityFilter) -> int:
        """Drops those that match; how many there were."""
        return await self._continuities.unbind([affinity.key for affinity in await self._matching(wanted)])

    async def _matching(self, wanted: AffinityFilter) -> list[Affinity]:
        now = self._clock.now()
        return [affinity for affinity in await self._continuities.habits() if wanted.matches(affinity, now)]


def _position(affinity: Affinity) -> tuple[str, str]:
    return f"{affinity.used_at.timestamp():020.6f}", affinity.key.hex()


def _write_token(position: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(" ".join(position).encode()).decode()


def _read_token(token: str) -> tuple[str, str]:
    try:
        used_at, found, key = base64.urlsafe_b64decode(token).decode().partition(" ")
    except (binascii.Error, ValueError):
        found = ""
    if not found:
        raise InvalidPageTokenError("page_token is not one that ListAffinities gave.")
    return used_at, key
