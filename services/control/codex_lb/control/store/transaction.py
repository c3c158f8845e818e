"""One transaction on one connection. What goes wrong in the database leaves it here as an error of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import anyio
import sqlalchemy.exc
from sqlalchemy import CursorResult, Executable
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from codex_lb.control.errors import ControlError, StoreConflictError, StoreUnavailableError, UnstorableError
from codex_lb.kit.uninterrupted import uninterrupted

Values: TypeAlias = tuple[object, ...]

ENDS_WITHIN_S = 5.0  # longer than a statement may take: whoever waits for the end learns from the statement's deadline


class Transaction:
    """Runs statements between `begin` and `end`."""

    def __init__(self, engine: AsyncEngine, *, is_writing: bool) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None
        self.is_writing = is_writing
        self.dialect = engine.dialect.name

    async def begin(self) -> None:
        """Waits for a connection. Raises StoreUnavailableError."""
        with answers():
            connection = await self._engine.connect()
            try:
                await uninterrupted(_begin(connection))
            except BaseException:
                await uninterrupted(connection.close())
                raise
        self._connection = connection

    async def run(
        self, statement: Executable, rows: Sequence[Mapping[str, object]] | Mapping[str, object] | None = None
    ) -> CursorResult[Any]:
        """Raises StoreConflictError, UnstorableError or StoreUnavailableError."""
        if self._connection is None:
            raise RuntimeError("a unit of work is used outside of its `async with`")
        with answers():
            # To its end, which the statement's deadline bounds: a connection that is cut off in the middle of one keeps
            # the locks of its transaction, on SQLite the whole database's, for as long as nobody collects it.
            return await uninterrupted(self._connection.execute(statement, rows))

    async def run_text(self, text: str, values: Values | list[Values]) -> CursorResult[Any]:
        """The same for a statement in the database's own words, with values as its driver takes them: once, or for each."""
        if self._connection is None:
            raise RuntimeError("a unit of work is used outside of its `async with`")
        with answers():
            return await uninterrupted(self._connection.exec_driver_sql(text, values))

    async def end(self, *, commit: bool) -> None:
        """Commits or rolls back and gives the connection back, also when whoever waited for it has left."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with answers():
            await uninterrupted(_end(connection, commit=commit))


async def _begin(connection: AsyncConnection) -> None:
    await connection.begin()


async def _end(connection: AsyncConnection, *, commit: bool) -> None:
    with anyio.move_on_after(ENDS_WITHIN_S) as scope:
        try:
            if commit:
                await connection.commit()
        finally:
            await connection.close()  # rolls back what is not committed
    if scope.cancelled_caught:
        raise StoreUnavailableError(f"the database did not end a transaction within {ENDS_WITHIN_S:g} s")


@contextmanager
def answers() -> Iterator[None]:
    """Translates what the driver raises."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, OSError, OverflowError, UnicodeError) as error:
        raise _ours(error) from error


def _ours(error: Exception) -> ControlError:
    """By SQLSTATE where there is one: class 22 is a bad value, 23 a broken constraint; SQLite says it by its types."""
    match error:
        case sqlalchemy.exc.IntegrityError():
            return StoreConflictError("the row contradicts one that is stored")
        case sqlalchemy.exc.DataError() | OverflowError() | UnicodeError():
            return UnstorableError("the row holds a value the database cannot store")
        case sqlalchemy.exc.DBAPIError() if _is_bad_value(error.orig):
            return UnstorableError("the row holds a value the database cannot store")
        case sqlalchemy.exc.DBAPIError():
            return StoreUnavailableError(f"the database did not answer: {_first_line(error.orig)}")
        case sqlalchemy.exc.StatementError():  # a value was refused before the database saw it
            return UnstorableError("the row holds a value the database cannot store")
        case sqlalchemy.exc.TimeoutError():
            return StoreUnavailableError("no connection to the database came free in time")
        case _:
            return StoreUnavailableError(f"the database did not answer: {_first_line(error)}")


def _is_bad_value(orig: BaseException | None) -> bool:
    state = getattr(orig, "sqlstate", None)  # asyncpg's; SQLite has none
    return (isinstance(state, str) and state.startswith("22")) or isinstance(
        getattr(orig, "__cause__", None), ValueError
    )


def _first_line(error: BaseException | None) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
