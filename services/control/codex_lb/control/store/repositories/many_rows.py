"""Writes many rows at once, with statements that are made once.

What comes with every turn is written so: handed to SQLAlchemy row by row, it cost this process several times what it
costs the database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, make_url
from sqlalchemy.sql.dml import ReturningInsert

from codex_lb.control.errors import UnstorableError
from codex_lb.control.store.repositories.inserts import Insert
from codex_lb.control.store.tables.schema import Instant, Words, instant_as_text, instant_in_utc, without_nul
from codex_lb.control.store.transaction import Transaction

Row: TypeAlias = Mapping[str, object]  # by the names of all columns; structures as JSON already

ROWS_PER_STATEMENT_MAX = 50  # PostgreSQL keeps a plan for each number of rows, so there must not be many numbers
DIALECTS = {
    "sqlite": make_url("sqlite+aiosqlite://").get_dialect()(),
    "postgresql": make_url("postgresql+asyncpg://").get_dialect()(),
}
_VALUES = re.compile(r" VALUES \((?P<row>.*?)\)(?= ON CONFLICT )")
_NUMBERED = re.compile(r"\$(\d+)")


class ManyRows:
    """An INSERT … ON CONFLICT, ready for any number of rows."""

    def __init__(self, statement: ReturningInsert[Any] | Insert, dialect: str) -> None:
        columns = list(statement.table.columns)
        text = str(statement.compile(dialect=DIALECTS[dialect]))
        one_row = _VALUES.search(text)
        if one_row is None:
            raise ValueError(f"no INSERT of a row with ON CONFLICT: {text}")
        self._head, self._row, self._tail = text[: one_row.start()], one_row["row"], text[one_row.end() :]
        self._columns = len(columns)
        self._values_of = itemgetter(*(column.name for column in columns))
        self._bound = tuple(_bound(column, dialect) for column in columns)
        self._text = cache(self._text_for)

    async def write(self, transaction: Transaction, rows: Sequence[Row]) -> None:
        """Writes them; what the statement returns is lost."""
        if rows:
            await transaction.run_text(self._text(1), [self._values([row]) for row in rows])

    async def written(self, transaction: Transaction, rows: Sequence[Row]) -> frozenset[str]:
        """Writes them; the keys of those that were written, which the statement returns."""
        keys: set[str] = set()
        for start in range(0, len(rows), ROWS_PER_STATEMENT_MAX):
            some = rows[start : start + ROWS_PER_STATEMENT_MAX]
            keys.update((await transaction.run_text(self._text(len(some)), self._values(some))).scalars())
        return frozenset(keys)

    def _values(self, rows: Sequence[Row]) -> tuple[object, ...]:
        try:
            return tuple(
                value if bound is None or value is None else bound(value)
                for row in rows
                for value, bound in zip(self._values_of(row), self._bound, strict=True)
            )
        except ValueError as error:
            raise UnstorableError("the row holds a value the database cannot store") from error

    def _text_for(self, rows: int) -> str:
        placeholders = ", ".join(self._placeholders(number) for number in range(rows))
        return f"{self._head} VALUES {placeholders}{self._tail}"

    def _placeholders(self, number: int) -> str:
        """Of one row. SQLite's have no numbers; PostgreSQL's go on from row to row."""
        before = number * self._columns
        return f"({_NUMBERED.sub(lambda place: f'${before + int(place[1])}', self._row)})"


def _bound(column: ColumnElement[object], dialect: str) -> Callable[..., object] | None:
    """What makes of a value what the driver takes, where it does not take it as it is."""
    match column.type:
        case Words():
            return without_nul
        case Instant():
            return instant_as_text if dialect == "sqlite" else instant_in_utc
        case _:
            return None
