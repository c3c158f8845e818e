"""A unit of work is all or nothing, waits a bounded time, and never keeps a connection."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from codex_lb.control.errors import StoreUnavailableError
from codex_lb.control.store.database import Database, DatabaseOptions, open_database
from tests.contract.store.examples import account, add_account, sealed
from tests.support.databases import PostgresqlServer, running_postgresql

IMPATIENT = DatabaseOptions(pool_size=1, max_overflow=0, pool_timeout_s=0.05, statement_timeout_s=0.05)
ONE_CONNECTION = DatabaseOptions(pool_size=1, max_overflow=0)


async def aliases(store: Database) -> list[str]:
    """Of all accounts."""
    async with store.begin(writing=False) as unit:
        return [stored.alias for stored, _ in await unit.accounts.all()]


async def test_an_exception_rolls_everything_back(store: Database) -> None:
    async def fail_after_adding() -> None:
        async with store.begin(writing=True) as unit:
            await unit.accounts.add(account("a"), sealed())
            raise KeyError

    with pytest.raises(KeyError):
        await fail_after_adding()

    assert await aliases(store) == []


async def test_a_unit_that_is_not_for_writing_cannot_write(store: Database) -> None:
    with pytest.raises(StoreUnavailableError, match=r"read-?only"):
        async with store.begin(writing=False) as unit:
            await unit.accounts.add(account("a"), sealed())

    assert await aliases(store) == []


async def test_readers_do_not_wait_for_a_long_writer_and_see_the_last_commit(store: Database) -> None:
    await add_account(store, "before")

    async with store.begin(writing=True) as unit:
        await unit.accounts.add(account("during"), sealed())
        with anyio.fail_after(1):
            assert await aliases(store) == ["before"]

    assert await aliases(store) == ["before", "during"]


async def test_a_long_reader_keeps_nobody_from_committing(store: Database) -> None:
    await add_account(store, "before")

    async with store.begin(writing=False) as unit:
        await unit.accounts.all()
        await add_account(store, "during")

    assert await aliases(store) == ["before", "during"]


async def test_a_unit_that_cannot_begin_in_time_says_so(database_url: str) -> None:
    async with open_database(database_url, IMPATIENT) as store, store.begin(writing=True):
        with pytest.raises(StoreUnavailableError):
            async with store.begin(writing=True):
                pytest.fail("there is but one connection")


async def test_a_hang_up_gives_the_connection_back(database_url: str) -> None:
    async with open_database(database_url, ONE_CONNECTION) as store:
        async with anyio.create_task_group() as tasks:
            has_begun = anyio.Event()

            async def hang_up_inside() -> None:
                async with store.begin(writing=True) as unit:
                    await unit.accounts.add(account("a"), sealed())
                    has_begun.set()
                    await anyio.sleep_forever()

            tasks.start_soon(hang_up_inside)
            await has_begun.wait()
            tasks.cancel_scope.cancel()

        assert await aliases(store) == []
        await add_account(store, "b")
        assert await aliases(store) == ["b"]


async def test_a_hang_up_during_a_statement_leaves_the_store_usable(database_url: str) -> None:
    async with open_database(database_url, ONE_CONNECTION) as store:
        for checkpoints in range(12):  # so that it comes at every point of the unit once
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(add_account, store, f"a{checkpoints}")
                for _ in range(checkpoints):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()

        await add_account(store, "b")
        assert "b" in await aliases(store)


async def test_a_second_process_that_writes_is_waited_for_a_bounded_time(sqlite_url: str) -> None:
    async with (
        open_database(sqlite_url, IMPATIENT) as ours,
        open_database(sqlite_url, IMPATIENT) as theirs,
        theirs.begin(writing=True),
    ):
        with pytest.raises(StoreUnavailableError, match="locked"):
            await add_account(ours, "a")


async def test_a_statement_ends_at_its_deadline(postgresql_url: str) -> None:
    options = DatabaseOptions(statement_timeout_s=0.05)
    async with open_database(postgresql_url, options) as store, store.begin(writing=True) as unit:
        await unit.terms.next("control")
        with pytest.raises(StoreUnavailableError, match="timeout"):
            async with store.begin(writing=True) as waiting:
                await waiting.terms.next("control")


async def test_a_database_that_answers_answers_a_ping(store: Database) -> None:
    await store.ping()


async def test_a_restart_of_the_database_is_not_noticed_by_the_next_unit() -> None:
    with running_postgresql() as server:
        async with open_database(server.url("postgres")) as store:
            await store.ping()

            server.stop()
            server.start()

            await store.ping()


async def test_a_database_that_is_away_is_found_when_it_is_back() -> None:
    with running_postgresql() as server:
        async with open_database(server.url("postgres")) as store:
            server.stop()
            with pytest.raises(StoreUnavailableError):
                await store.ping()
            server.start()

            await store.ping()


async def test_a_frozen_database_is_given_up_at_the_deadline() -> None:
    with running_postgresql() as server:
        async with open_database(server.url("postgres"), DatabaseOptions(statement_timeout_s=0.05)) as store:
            await store.ping()
            with server.frozen(), pytest.raises(StoreUnavailableError):
                await store.ping()

            await store.ping()


async def test_a_unit_whose_database_goes_away_says_so_and_nothing_is_stored(
    postgresql_server: PostgresqlServer, postgresql_url: str
) -> None:
    async def lose_the_connection(store: Database) -> None:
        async with store.begin(writing=True) as unit:
            await unit.accounts.add(account("a"), sealed())
            postgresql_server.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'codex-lb control'"
            )

    async with open_database(postgresql_url) as store:
        with pytest.raises(StoreUnavailableError):
            await lose_the_connection(store)

        assert await aliases(store) == []


async def test_a_writer_that_is_cancelled_anywhere_leaves_no_lock_behind(store: Database) -> None:
    async def write() -> None:
        while True:
            async with store.begin(writing=True) as unit:
                await unit.terms.next("cancelled")
                await unit.fingerprints.load()

    async with store.begin(writing=True):
        pass  # connecting is not what is cut off here
    for turns_of_the_loop in range(60):
        task = asyncio.create_task(write())
        for _ in range(turns_of_the_loop):
            await asyncio.sleep(0.0005)
        task.cancel()
        await asyncio.wait([task])

        with anyio.fail_after(1.0):
            async with store.begin(writing=True) as unit:
                await unit.terms.next("afterwards")
