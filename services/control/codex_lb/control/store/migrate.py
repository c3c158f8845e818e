"""Brings the database's schema to what this version needs: one transaction, one migrator at a time, a backup first."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path

import anyio.to_thread
import structlog
from sqlalchemy import URL, inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from codex_lb.control.errors import MigrationError
from codex_lb.control.store import migrations, postgresql, sqlite
from codex_lb.control.store.database import database_url
from codex_lb.control.store.transaction import answers

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

LOCK_WAIT_MAX_S = 300.0  # as long as the largest migration by another replica may take
READ_WITHIN_S = 5.0  # for one row
POSTGRESQL_LOCK = 0x636F6465786C62  # "codexlb": an advisory lock's name is a number


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What was done."""

    from_revision: str | None  # None: the database was empty
    to_revision: str
    backup_file: Path | None

    @property
    def has_changed(self) -> bool:
        """Whether there was anything to do."""
        return self.from_revision != self.to_revision


async def migrate(url: str, *, backup: bool, backup_files_max: int, now: datetime) -> MigrationReport:
    """Does nothing when the schema is as needed. Raises MigrationError or StoreUnavailableError; then nothing changed.

    A backup is made of SQLite files only, and only when there is something to migrate.
    """
    parsed = database_url(url)
    async with _alone(parsed) as connection:
        before = await connection.run_sync(_revision)
        _refuse_newer(before)
        if before == head_revision():
            return MigrationReport(before, before, None)
        file = None
        if backup and parsed.get_backend_name() == "sqlite" and await connection.run_sync(_has_tables):
            file = await anyio.to_thread.run_sync(_back_up, sqlite.file_of(parsed), now, backup_files_max)
        await connection.run_sync(_upgrade)
    log.info("database migrated", from_revision=before, to_revision=head_revision())
    return MigrationReport(before, head_revision(), file)


async def needs_migration(url: str) -> bool:
    """Whether `migrate` has anything to do. Raises MigrationError when the database is newer than this version."""
    revision = await current_revision(url)
    _refuse_newer(revision)
    return revision != head_revision()


async def current_revision(url: str) -> str | None:
    """Where the database's schema stands; None when it has none."""
    parsed = database_url(url)
    if parsed.get_backend_name() == "sqlite" and not sqlite.file_of(parsed).exists():
        return None
    async with _connected(_reader(parsed)) as connection:
        return await connection.run_sync(_revision)


def head_revision() -> str:
    """What this version needs."""
    return known_revisions()[0]


@asynccontextmanager
async def _alone(url: URL) -> AsyncIterator[AsyncConnection]:
    """A transaction that no other migrator can be in at the same time."""
    if url.get_backend_name() == "sqlite":
        with answers():
            sqlite.prepare(sqlite.file_of(url))
    async with _connected(_migrator(url)) as connection:
        if url.get_backend_name() == "postgresql":  # SQLite's lock is that its transaction is IMMEDIATE
            await connection.execute(text(f"SET LOCAL lock_timeout = {int(LOCK_WAIT_MAX_S * 1000)}"))
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({POSTGRESQL_LOCK})"))
        yield connection


@asynccontextmanager
async def _connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    try:
        with answers():
            async with engine.begin() as connection:
                yield connection
    finally:
        await engine.dispose()


def _reader(url: URL) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        return sqlite.reading_engine(
            url, pool_size=1, max_overflow=0, wait_max_s=READ_WITHIN_S, pool_timeout_s=READ_WITHIN_S
        )
    return postgresql.engine_for(url, statement_timeout_s=READ_WITHIN_S, pool_size=1, max_overflow=0)


def _migrator(url: URL) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        return sqlite.migrating_engine(url, wait_max_s=LOCK_WAIT_MAX_S)
    return postgresql.engine_for(url, statement_timeout_s=None, pool_size=1, max_overflow=0)


def _revision(connection: Connection) -> str | None:
    """Alembic's own mark, read without Alembic: most starts have nothing to migrate, and it is a tenth of the memory."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def _has_tables(connection: Connection) -> bool:
    return bool(inspect(connection).get_table_names())


def _refuse_newer(revision: str | None) -> None:
    if revision is not None and revision not in known_revisions():
        raise MigrationError(
            f"The database is newer than this version of codex-lb: its schema is at revision {revision}, and this"
            f" version knows revisions up to {head_revision()}. Start the version that wrote it, restore the backup"
            " made before it was migrated, or name another database."
        )


def _upgrade(connection: Connection) -> None:
    from codex_lb.control.store.upgrade import upgrade  # noqa: PLC0415 - brings Alembic

    upgrade(connection)


@cache
def known_revisions() -> tuple[str, ...]:
    """The newest first. Each is called as its file, and numbered."""
    names = (file.name for file in (files(migrations) / "versions").iterdir())
    return tuple(sorted((name.removesuffix(".py") for name in names if name[:4].isdigit()), reverse=True))


def _back_up(file: Path, now: datetime, files_max: int) -> Path:
    """A copy beside the file, the oldest copies removed. Another connection may hold the write lock meanwhile."""
    copy = file.with_name(f"{file.name}.{now.astimezone(UTC):%Y%m%dT%H%M%SZ}.bak")
    unfinished = copy.with_suffix(".partial")  # so that a copy cut short is never taken for a backup
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(unfinished)) as target:
            source.backup(target)
        unfinished.replace(copy)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            unfinished.unlink()
        raise MigrationError(
            f"The database was not migrated, because no backup could be written to {copy}: {error}"
        ) from error
    copies = sorted(file.parent.glob(f"{file.name}.*Z.bak"))
    for old in copies[: max(0, len(copies) - max(1, files_max))]:
        old.unlink(missing_ok=True)
    return copy
