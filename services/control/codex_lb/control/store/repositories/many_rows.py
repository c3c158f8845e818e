"""Writes many rows at once, with statements that are made once.

What comes with every turn is written so: handed to SQLAlchemy row by row, it cost this process several times what it
costs the database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import make_url
from sqlalchemy.sql.dml import ReturningInsert

from codex_lb.control.errors import UnstorableError
from codex_lb.control.store.repositories.inserts import Insert
from codex_lb.control.store.tables.schema import Instant, Words, instant_as_text, instant_in_utc, without_nul
from codex_lb.control.store.transaction import Transaction, Values
from codex_lb.kit.portions import portions

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
        self._words = [place for place, column in enumerate(columns) if isinstance(column.type, Words)]
        self._words_of = _at(self._words)
        self._instants = [place for place, column in enumerate(columns) if isinstance(column.type, Instant)]
        self._instant = instant_as_text if dialect == "sqlite" else instant_in_utc
        self._text = cache(self._text_for)

    async def write(self, transaction: Transaction, rows: Sequence[Row]) -> None:
        """Writes them; what the statement returns is lost."""
        if rows:
            await transaction.run_text(self._text(1), [self._values([row]) for row in rows])

    async def written(self, transaction: Transaction, rows: Sequence[Row]) -> frozenset[str]:
        """Writes them; the keys of those that were written, which the statement returns."""
        keys: set[str] = set()
        for some in portions(rows, ROWS_PER_STATEMENT_MAX):
            keys.update((await transaction.run_text(self._text(len(some)), self._values(some))).scalars())
        return frozenset(keys)

    def _values(self, rows: Sequence[Row]) -> Values:
        try:
            return tuple(chain.from_iterable(self._bound(row) for row in rows))
        except ValueError as error:
            raise UnstorableError("the row holds a value the database cannot store") from error

    def _bound(self, row: Row) -> list[Any]:
        """What the driver takes of a row."""
        values = list(self._values_of(row))
        if "\0" in "".join(filter(None, self._words_of(values))):
            for place in self._words:
                if values[place] is not None:
                    values[place] = without_nul(values[place])
        for place in self._instants:
            if values[place] is not None:
                values[place] = self._instant(values[place])
        return values

    def _text_for(self, rows: int) -> str:
        placeholders = ", ".join(self._placeholders(number) for number in range(rows))
        return f"{self._head} VALUES {placeholders}{self._tail}"

    def _placeholders(self, number: int) -> str:
        """Of one row. SQLite's have no numbers; PostgreSQL's go on from row to row."""
        before = number * self._columns
        return f"({_NUMBERED.sub(lambda place: f'${before + int(place[1])}', self._row)})"


def _at(places: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """What stands at these places."""
    return itemgetter(*places) if len(places) > 1 else lambda values: tuple(values[place] for place in places)
