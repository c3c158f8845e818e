"""Shows the request log: pages of lines, and one line with all that is behind it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from codex_lb.control.domain.ids import TurnId
from codex_lb.control.domain.lease import Settlement, TurnReport
from codex_lb.control.domain.phases import Phases, phases_of
from codex_lb.control.domain.report import Asked, Place
from codex_lb.control.errors import InvalidPageTokenError, RequestNotFoundError
from codex_lb.control.usecases.ports import Store

PAGE_SIZE = 50  # where none is asked for
PAGE_SIZE_MAX = 1000  # about a megabyte


@dataclass(frozen=True, slots=True)
class LogPage:
    """Some lines, newest first."""

    lines: Sequence[TurnReport]
    next_page_token: str  # empty on the last page


@dataclass(frozen=True, slots=True)
class Details:
    """One line, and what is behind it."""

    line: TurnReport
    attempts: Sequence[Settlement]
    phases: Phases


class ViewLog:
    """The verbs list and get."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def page(self, asked: Asked, *, size: int, token: str) -> LogPage:
        """Lines behind the page token's. Raises InvalidPageTokenError and StoreUnavailableError."""
        size = min(size, PAGE_SIZE_MAX) if size > 0 else PAGE_SIZE
        behind = _read_token(token) if token else None
        async with self._store.begin(writing=False) as unit:
            found = await unit.request_log.page(asked, behind=behind, lines_max=size)
        return LogPage(found.lines, _write_token(found.behind) if found.behind else "")

    async def one(self, turn_id: TurnId) -> Details:
        """Raises RequestNotFoundError and StoreUnavailableError."""
        async with self._store.begin(writing=False) as unit:
            line = await unit.turns.report(turn_id)
            attempts = await unit.turns.attempts(turn_id)
        if line is None:
            raise RequestNotFoundError(f"The log has no request {turn_id!r}: it still runs, never was, or was too old.")
        return Details(line, attempts, phases_of(line.timings, attempts))


def _write_token(place: Place) -> str:
    return base64.urlsafe_b64encode(f"{place.started_at.isoformat()} {place.turn_id}".encode()).decode()


def _read_token(token: str) -> Place:
    try:
        started_at, found, turn_id = base64.urlsafe_b64decode(token).decode().partition(" ")
        instant = datetime.fromisoformat(started_at)
    except (binascii.Error, ValueError):
        found = ""
    if not found or instant.tzinfo is None:
        raise InvalidPageTokenError("page_token is not one that ListRequests gave.")
    return Place(instant, turn_id)
