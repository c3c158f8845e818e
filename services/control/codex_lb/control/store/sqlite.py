"""SQLite: one file, one writing connection, readers beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import URL, event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from codex_lb.control.errors import InvalidDatabaseUrlError
from codex_lb.control.store.structures import to_json

WAL_BYTES_KEPT_MAX = 64 * 2**20  # what a long reader made the log grow to is given back


def file_of(url: URL) -> Path:
    """Where the database is, `~` expanded."""
    if not url.database or url.database == ":memory:":
        raise InvalidDatabaseUrlError("The database URL names no file: write sqlite+aiosqlite:///path/to/store.db")
    return Path(url.database).expanduser().absolute()


def prepare(file: Path) -> None:
    """Creates the folder and the file, for the owner's eyes only: sealed tokens and a request log are inside."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not file.exists():
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))


def writing_engine(url: URL, *, wait_max_s: float, pool_timeout_s: float) -> AsyncEngine:
    """The one writer: a pool of a single connection is the queue that writing units wait in."""
    engine = _engine(url, pool_size=1, max_overflow=0, pool_timeout=pool_timeout_s)
    _on_connect(engine, ["journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"], wait_max_s=wait_max_s)
    _begin_with(engine, "BEGIN IMMEDIATE")  # a writer of another process is waited for here, not met in the middle
    return engine


def reading_engine(
    url: URL, *, pool_size: int, max_overflow: int, wait_max_s: float, pool_timeout_s: float
) -> AsyncEngine:
    """Readers see the last commit and wait for nobody."""
    engine = _engine(url, pool_size=pool_size, max_overflow=max_overflow, pool_timeout=pool_timeout_s)
    _on_connect(engine, ["query_only=ON"], wait_max_s=wait_max_s)
    _begin_with(engine, "BEGIN")
    return engine


def migrating_engine(url: URL, *, wait_max_s: float) -> AsyncEngine:
    """Foreign keys are off, for SQLite changes a table by making another in its place. The journal stays as it is:
    changing it fails at once where another migrator is at work, instead of waiting for it.
    """
    engine = _engine(url, pool_size=1, max_overflow=0)
    _on_connect(engine, ["foreign_keys=OFF"], wait_max_s=wait_max_s)
    _begin_with(engine, "BEGIN IMMEDIATE")
    return engine


def _engine(url: URL, **pool: Any) -> AsyncEngine:
    at_file = url.set(database=str(file_of(url)))
    return create_async_engine(at_file, hide_parameters=True, json_serializer=to_json, **pool)


def _on_connect(engine: AsyncEngine, pragmas: list[str], *, wait_max_s: float) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        cursor = connection.cursor()
        for pragma in [f"busy_timeout={int(wait_max_s * 1000)}", f"journal_size_limit={WAL_BYTES_KEPT_MAX}", *pragmas]:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()


def _begin_with(engine: AsyncEngine, statement: str) -> None:
    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)
