"""Opens the database, SQLite or PostgreSQL, and begins units of work in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import sqlalchemy.exc
from sqlalchemy import URL, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from codex_lb.control.errors import InvalidDatabaseUrlError
from codex_lb.control.store import postgresql, sqlite
from codex_lb.control.store.news import Sieve
from codex_lb.control.store.transaction import Transaction, answers
from codex_lb.control.store.unit_of_work import SqlUnitOfWork


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """How many connections, and how long anything may take."""

    pool_size: int = 4
    max_overflow: int = 2
    pool_timeout_s: float = 2.0  # how long a unit waits for a connection; on SQLite also for its turn to write
    statement_timeout_s: float = 2.0  # on SQLite: how long another process's writer is waited for


@asynccontextmanager
async def open_database(url: str, options: DatabaseOptions = DatabaseOptions()) -> AsyncIterator[Database]:
    """Does not wait for the database to answer: `ping` does. Raises InvalidDatabaseUrlError or StoreUnavailableError."""
    parsed = database_url(url)
    with answers():  # a folder that cannot be made is a database that cannot be used
        reading, writing = _engines(parsed, options)
    try:
        yield Database(reading, writing)
    finally:
        await reading.dispose()
        await writing.dispose()


class Database:
    """The store. On SQLite writing units come one after another and readers never wait for them."""

    def __init__(self, reading: AsyncEngine, writing: AsyncEngine) -> None:
        self._reading = reading
        self._writing = writing
        self._sieve = Sieve()

    def begin(self, *, writing: bool) -> SqlUnitOfWork:
        """A transaction; one that is not for writing cannot write."""
        return SqlUnitOfWork(self._writing if writing else self._reading, self._sieve, is_writing=writing)

    async def ping(self) -> None:
        """Raises StoreUnavailableError unless the database answers."""
        transaction = Transaction(self._reading, is_writing=False)
        await transaction.begin()
        try:
            # SQLite would answer SELECT 1 without a look at the file.
            await transaction.run(text("PRAGMA schema_version" if transaction.dialect == "sqlite" else "SELECT 1"))
        finally:
            await transaction.end(commit=False)


def database_url(url: str) -> URL:
    """The two forms there are. Raises InvalidDatabaseUrlError, which never shows a password."""
    try:
        parsed = make_url(url)
    except sqlalchemy.exc.ArgumentError:
        parsed = None
    if parsed is None or parsed.drivername not in ("sqlite+aiosqlite", "postgresql+asyncpg"):
        raise InvalidDatabaseUrlError(
            "The database URL must have the form sqlite+aiosqlite:///path/to/store.db"
            " or postgresql+asyncpg://user:password@host/database"
        )
    return parsed


def _engines(url: URL, options: DatabaseOptions) -> tuple[AsyncEngine, AsyncEngine]:
    if url.get_backend_name() == "sqlite":
        sqlite.prepare(sqlite.file_of(url))
        reading = sqlite.reading_engine(
            url,
            pool_size=options.pool_size,
            max_overflow=options.max_overflow,
            wait_max_s=options.statement_timeout_s,
            pool_timeout_s=options.pool_timeout_s,
        )
        writing = sqlite.writing_engine(
            url, wait_max_s=options.statement_timeout_s, pool_timeout_s=options.pool_timeout_s
        )
        return reading, writing
    engine = postgresql.engine_for(
        url,
        statement_timeout_s=options.statement_timeout_s,
        pool_size=options.pool_size,
        max_overflow=options.max_overflow,
        pool_timeout=options.pool_timeout_s,
    )
    # A reading unit sees one moment, as on SQLite: what is counted in several statements must not move meanwhile.
    return engine.execution_options(postgresql_readonly=True, isolation_level="REPEATABLE READ"), engine
