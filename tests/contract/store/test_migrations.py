"""The schema comes from the migrations, is what the tables say, and is changed by one at a time, after a backup."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from codex_lb.control.errors import MigrationError
from codex_lb.control.store import migrations
from codex_lb.control.store.database import open_database
from codex_lb.control.store.migrate import (
    MigrationReport,
    current_revision,
    head_revision,
    known_revisions,
    migrate,
    needs_migration,
)
from codex_lb.control.store.tables import metadata
from tests.contract.store.examples import NOON, account, add_account
from tests.support.databases import PostgresqlServer, sqlite_url_of

FROM_NOTHING = MigrationReport(None, head_revision(), None)
NOTHING_TO_DO = MigrationReport(head_revision(), head_revision(), None)


async def bring_up(url: str, *, days: int = 0, files_max: int = 3) -> MigrationReport:
    """With a backup, some days after noon."""
    return await migrate(url, backup=True, backup_files_max=files_max, now=NOON + timedelta(days=days))


def names_in(folder: Path, pattern: str = "*") -> list[str]:
    """Of the files that are there."""
    return sorted(file.name for file in folder.glob(pattern))


def mark(file: Path, revision: str) -> None:
    """Makes a SQLite database look as if another version had written it."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])


def forget_the_schema(file: Path) -> None:
    """Leaves a database with one foreign table, that needs every migration."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE precious (value TEXT)")
        connection.execute("INSERT INTO precious VALUES ('kept')")


def test_revisions_are_called_as_their_files_and_follow_each_other_in_their_order() -> None:
    folder = Path(migrations.__path__[0])

    walked = tuple(script.revision for script in ScriptDirectory(str(folder)).walk_revisions())

    assert known_revisions() == walked


async def test_tables_and_migrations_agree(database_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_an_empty_database_gets_its_tables_once(empty_database_url: str) -> None:
    assert await current_revision(empty_database_url) is None
    assert await needs_migration(empty_database_url)

    assert await bring_up(empty_database_url) == FROM_NOTHING
    assert await bring_up(empty_database_url) == NOTHING_TO_DO

    assert await current_revision(empty_database_url) == head_revision()
    assert not await needs_migration(empty_database_url)
    async with open_database(empty_database_url) as store:
        await add_account(store, "a")


async def test_asking_a_database_that_is_not_there_does_not_create_it(tmp_path: Path) -> None:
    assert await needs_migration(sqlite_url_of(tmp_path / "folder" / "store.db"))

    assert names_in(tmp_path) == []


async def test_of_several_that_migrate_at_once_one_does_it(empty_database_url: str) -> None:
    reports: list[MigrationReport] = []

    async def run() -> None:
        reports.append(await bring_up(empty_database_url))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(run)

    assert sorted(reports, key=lambda report: report.has_changed) == [NOTHING_TO_DO] * 3 + [FROM_NOTHING]


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(sqlite_url: str, tmp_path: Path) -> None:
    mark(tmp_path / "store.db", "9999_from_the_future")

    with pytest.raises(MigrationError, match=r"database is newer than this version.*9999_from_the_future"):
        await bring_up(sqlite_url)
    with pytest.raises(MigrationError, match="database is newer"):
        await needs_migration(sqlite_url)

    assert await current_revision(sqlite_url) == "9999_from_the_future"
    assert names_in(tmp_path, "*.bak") == []


async def test_a_newer_version_is_refused_on_postgresql_too(
    postgresql_url: str, postgresql_server: PostgresqlServer
) -> None:
    database = postgresql_url.split("///")[1].split("?", maxsplit=1)[0]
    postgresql_server.sql("UPDATE alembic_version SET version_num = '9999_from_the_future'", database=database)

    with pytest.raises(MigrationError, match="database is newer"):
        await bring_up(postgresql_url)


async def test_what_was_there_is_backed_up_first_for_the_owners_eyes_only(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    forget_the_schema(file)

    report = await bring_up(sqlite_url_of(file))

    assert report.backup_file == tmp_path / "store.db.20260504T120000Z.bak"
    assert report.backup_file.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(report.backup_file)) as backup:
        assert backup.execute("SELECT name FROM sqlite_master").fetchall() == [("precious",)]
        assert backup.execute("SELECT value FROM precious").fetchall() == [("kept",)]


async def test_only_the_newest_backups_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "store.db"

    for day in range(4):
        forget_the_schema_again(file)
        await bring_up(sqlite_url_of(file), days=day, files_max=2)

    assert names_in(tmp_path, "*.bak") == [
        "store.db.20260506T120000Z.bak",
        "store.db.20260507T120000Z.bak",
    ]


def forget_the_schema_again(file: Path) -> None:
    """As before the first migration."""
    for part in file.parent.glob("store.db*"):
        if part.suffix != ".bak":
            part.unlink()
    forget_the_schema(file)


async def test_without_a_backup_nothing_is_migrated(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    forget_the_schema(file)
    (tmp_path / "store.db.20260504T120000Z.partial").mkdir()  # stands where the copy would be written

    with pytest.raises(MigrationError, match="was not migrated, because no backup could be written"):
        await bring_up(sqlite_url_of(file))

    assert await current_revision(sqlite_url_of(file)) is None


async def test_a_migration_that_fails_leaves_the_database_as_it_was(
    empty_postgresql_url: str, postgresql_server: PostgresqlServer
) -> None:
    database = empty_postgresql_url.split("///")[1].split("?", maxsplit=1)[0]
    postgresql_server.sql("CREATE TABLE catalog_models (in_the_way int)", database=database)  # the last table made

    with pytest.raises(MigrationError, match="left as it was"):
        await bring_up(empty_postgresql_url)

    tables = postgresql_server.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database=database)
    assert tables == "catalog_models"


async def test_a_migration_that_fails_leaves_sqlite_as_it_was_too(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE catalog_models (in_the_way int)")

    with pytest.raises(MigrationError, match="left as it was"):
        await bring_up(sqlite_url_of(file))

    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("catalog_models",)]


async def test_a_running_store_stays_usable_while_somebody_asks_about_its_schema(database_url: str) -> None:
    async with open_database(database_url) as store, store.begin(writing=True) as unit:
        assert not await needs_migration(database_url)
        assert await unit.accounts.by_identity(account("a").identity) is None
