"""The store, open on a database of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from codex_lb.control.store.batch_writer import BatchWriter, Pace, open_ledger
from codex_lb.control.store.database import Database, open_database
from tests.support.databases import (
    database_url,
    empty_database_url,
    empty_postgresql_url,
    empty_sqlite_url,
    postgresql_server,
    postgresql_template,
    postgresql_url,
    sqlite_template,
    sqlite_url,
)

__all__ = [
    "database_url",
    "empty_database_url",
    "empty_postgresql_url",
    "empty_sqlite_url",
    "postgresql_server",
    "postgresql_template",
    "postgresql_url",
    "sqlite_template",
    "sqlite_url",
]

AT_ONCE = Pace(gathered_for_s=0.0, gathered_for_max_s=0.0, retry_first_s=0.001, retry_max_s=0.01)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Database]:
    """A migrated database of each kind."""
    async with open_database(database_url) as database:
        yield database


@pytest.fixture
async def ledger(store: Database) -> AsyncIterator[BatchWriter]:
    """The batch writer on it."""
    async with open_ledger(store, AT_ONCE) as writer:
        yield writer
