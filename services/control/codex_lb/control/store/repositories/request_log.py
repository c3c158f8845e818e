"""Reads the request log in pages, newest first, and drops what is past its retention.

However rare what is looked for, a page looks at a bounded stretch of lines and says where it stopped.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, ColumnElement, Table, and_, delete, func, or_, select, tuple_

from codex_lb.control.domain.report import Asked, Facet, Place
from codex_lb.control.store.repositories.turn_rows import report_of
from codex_lb.control.store.tables import attempts, turns
from codex_lb.control.store.transaction import Transaction
from codex_lb.control.usecases.log_ports import Lines

LINES_LOOKED_AT_MAX = 20_000  # for one page; a tenth of a second on a slow disk
LINES_APART_LOOKED_AT_MAX = 4_000  # the same for lines of one account or key, which do not lie side by side
INDEXED = (Facet.ACCOUNT, Facet.API_KEY)
SEARCHED = ("turn_id", "response_id", "session_id", "fault_code", "fault_message", "user_agent", "route", "client_ip")
PAIR = (turns.c.started_at.type, turns.c.turn_id.type)
NEWEST_FIRST = (turns.c.started_at.desc(), turns.c.turn_id.desc())


class SqlRequestLog:
    """The port over `turns`, for people."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def page(self, asked: Asked, *, behind: Place | None, lines_max: int) -> Lines:
        by_index, by_look = _stretch(asked, behind), _looked_for(asked)
        floor = await self._floor(asked, by_index) if by_look else None
        if floor is not None:
            by_index.append(turns.c.started_at >= floor.started_at)
        lines = select(turns).where(*by_index, *by_look).order_by(*NEWEST_FIRST).limit(lines_max + 1)
        found = [report_of(row) for row in (await self._transaction.run(lines)).mappings()]
        if len(found) > lines_max:
            last = found[lines_max - 1]
            return Lines(found[:lines_max], Place(last.started_at, last.turn_id))
        return Lines(found, floor)

    async def purge(self, *, before: datetime, rows_max: int) -> int:
        dropped = await self._drop(turns, turns.c.turn_id, turns.c.started_at, before=before, rows_max=rows_max)
        return dropped + await self._drop(
            attempts, attempts.c.lease_id, attempts.c.ended_at, before=before, rows_max=rows_max
        )

    async def _floor(self, asked: Asked, by_index: list[ColumnElement[bool]]) -> Place | None:
        """How far back this page looks, all lines of that instant included; None when it looks at all there are."""
        is_apart = any(len(asked.only.names(facet)) == 1 for facet in INDEXED)
        lines_max = LINES_APART_LOOKED_AT_MAX if is_apart else LINES_LOOKED_AT_MAX
        instant = turns.c.started_at  # alone, for then the index has all that is asked
        wanted = select(instant).where(*by_index).order_by(instant.desc()).offset(lines_max - 1).limit(1)
        started_at = (await self._transaction.run(wanted)).scalar_one_or_none()
        return Place(started_at, "") if started_at is not None else None

    async def _drop(
        self, table: Table, key: Column[object], instant: Column[datetime], *, before: datetime, rows_max: int
    ) -> int:
        some = select(key).where(instant < before).order_by(instant).limit(rows_max)
        return (await self._transaction.run(delete(table).where(key.in_(some)))).rowcount


def _stretch(asked: Asked, behind: Place | None) -> list[ColumnElement[bool]]:
    """What an index finds: the time, and one account or one key."""
    conditions: list[ColumnElement[bool]] = []
    for facet in INDEXED:
        names = asked.only.names(facet)
        if len(names) == 1:
            conditions.append(turns.c[facet.value] == names[0])
    if asked.since is not None:
        conditions.append(turns.c.started_at >= asked.since)
    if asked.until is not None:
        conditions.append(turns.c.started_at < asked.until)
    if behind is not None:
        conditions.append(_behind(behind))
    return conditions


def _looked_for(asked: Asked) -> list[ColumnElement[bool]]:
    """What lines are looked at for."""
    several = [f for f in Facet if len(asked.only.names(f)) > 1]
    conditions: list[ColumnElement[bool]] = [turns.c[f.value].in_(asked.only.names(f)) for f in several]
    if len(asked.only.models) == 1:
        conditions.append(turns.c.model == asked.only.models[0])
    if asked.outcomes:
        conditions.append(turns.c.outcome.in_([outcome.value for outcome in asked.outcomes]))
    if asked.session_id:
        conditions.append(turns.c.session_id == asked.session_id)
    if asked.text:
        text = asked.text.lower()
        conditions.append(or_(*(func.lower(turns.c[name]).contains(text, autoescape=True) for name in SEARCHED)))
    return conditions


def _behind(place: Place) -> ColumnElement[bool]:
    """Older lines. The first condition is what the index is used for."""
    instant = turns.c.started_at
    return and_(
        instant <= place.started_at,
        tuple_(turns.c.started_at, turns.c.turn_id, types=PAIR) < tuple_(place.started_at, place.turn_id, types=PAIR),
    )
