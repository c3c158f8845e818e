"""The batch writer: few transactions, an answer only after the commit, and no entry in the way of another."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio.to_thread import run_sync

from codex_lb.control.domain.ids import AccountId, TurnId
from codex_lb.control.domain.lease import Settlement
from codex_lb.control.errors import EntriesRefusedError, StoreUnavailableError
from codex_lb.control.store.batch_writer import (
    ENTRIES_ARE_MANY,
    ENTRIES_PER_TRANSACTION_MAX,
    ENTRIES_WAITING_MAX,
    BatchWriter,
    open_ledger,
)
from codex_lb.control.store.database import Database, open_database
from codex_lb.control.store.migrate import migrate
from codex_lb.control.usecases.ports import UnitOfWork
from tests.contract.store.conftest import AT_ONCE
from tests.contract.store.examples import (
    NOON,
    add_account,
    report,
    settlement,
    usage_seen,
    with_unstorable_usage,
)
from tests.support.databases import running_postgresql


class CountedStore:
    """A real store that counts the transactions begun."""

    def __init__(self, store: Database) -> None:
        self._store = store
        self.begun = 0

    def begin(self, *, writing: bool) -> UnitOfWork:
        self.begun += 1
        return self._store.begin(writing=writing)


class AwayStore:
    """A database that never answers."""

    def begin(self, *, writing: bool) -> UnitOfWork:
        raise StoreUnavailableError(f"away, {writing=}")


MANY_PER_COMMIT = replace(AT_ONCE, gathered_for_max_s=1.0)
GONE_SOON = replace(AT_ONCE, closes_within_s=0.01)


async def attempts(store: Database, lease_id: str) -> list[Settlement]:
    """What is stored of a lease made by `settlement`."""
    async with store.begin(writing=False) as unit:
        return await unit.turns.attempts(TurnId(f"turn-of-{lease_id}"))


async def test_what_is_acknowledged_is_committed(store: Database, ledger: BatchWriter) -> None:
    account = await add_account(store, "a")

    await ledger.write([settlement("l")], [report("t")], [(account.account_id, usage_seen(10))])

    assert await attempts(store, "l") == [settlement("l")]
    async with store.begin(writing=False) as unit:
        assert await unit.turns.report(TurnId("t")) == report("t")
        assert await unit.accounts.newest_evidence() == {account.account_id: [usage_seen(10)]}


async def test_two_hundred_turns_that_end_together_share_few_transactions(store: Database) -> None:
    counted = CountedStore(store)

    async with open_ledger(counted, AT_ONCE) as ledger, anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(ledger.write, [settlement(f"l{number}")], [report(f"turn-of-l{number}")], [])

    assert counted.begun <= 5
    for number in range(200):
        assert len(await attempts(store, f"l{number}")) == 1


async def test_while_much_comes_in_a_commit_waits_for_more(store: Database) -> None:
    counted = CountedStore(store)

    async with open_ledger(counted, MANY_PER_COMMIT) as ledger, anyio.create_task_group() as tasks:
        for number in range(2 * ENTRIES_ARE_MANY):
            tasks.start_soon(ledger.write, [settlement(f"l{number}")], [], [])
            if number == ENTRIES_ARE_MANY:
                await anyio.sleep(MANY_PER_COMMIT.gathered_for_max_s / 10)

    assert counted.begun == 1


async def test_one_that_can_never_be_stored_is_refused_by_name_and_delays_no_other(
    store: Database, ledger: BatchWriter
) -> None:
    refused: list[EntriesRefusedError] = []

    async def write_bad() -> None:
        with pytest.raises(EntriesRefusedError) as caught:
            await ledger.write([settlement("beside"), with_unstorable_usage(settlement("bad"))], [report("t")], [])
        refused.append(caught.value)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(ledger.write, [settlement(f"l{number}")], [], [])
                if number == 10:
                    tasks.start_soon(write_bad)

    [error] = refused
    assert (error.lease_ids, error.turn_ids) == (frozenset({"bad"}), frozenset())
    assert await attempts(store, "bad") == []
    for lease_id in ["beside", *(f"l{number}" for number in range(20))]:
        assert len(await attempts(store, lease_id)) == 1


async def test_evidence_of_an_account_that_is_gone_is_dropped_without_a_word(
    store: Database, ledger: BatchWriter
) -> None:
    account = await add_account(store, "a")

    await ledger.write([], [], [(AccountId("gone"), usage_seen(10)), (account.account_id, usage_seen(20))])

    async with store.begin(writing=False) as unit:
        assert await unit.accounts.newest_evidence() == {account.account_id: [usage_seen(20)]}


async def test_closing_commits_what_was_handed_in(store: Database) -> None:
    async with anyio.create_task_group() as tasks, open_ledger(store, replace(AT_ONCE, gathered_for_s=0.2)) as ledger:
        tasks.start_soon(ledger.write, [settlement("l")], [], [])
        while not ledger.waiting:
            await anyio.lowlevel.checkpoint()

    assert ledger.waiting == 0
    assert await attempts(store, "l") == [settlement("l")]


async def test_a_service_that_is_cancelled_still_commits_what_was_handed_in(store: Database) -> None:
    async with anyio.create_task_group() as tasks:

        async def serve() -> None:
            async with open_ledger(store, AT_ONCE) as ledger:
                tasks.start_soon(ledger.write, [settlement("l")], [], [])
                while not ledger.waiting:
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()

        tasks.start_soon(serve)

    assert await attempts(store, "l") == [settlement("l")]


async def test_whoever_writes_to_a_closed_ledger_is_told(store: Database) -> None:
    async with open_ledger(store, AT_ONCE) as ledger:
        pass

    with pytest.raises(StoreUnavailableError):
        await ledger.write([settlement("l")], [], [])


async def test_a_ledger_that_closes_while_the_database_is_away_lets_nobody_wait() -> None:
    told: list[StoreUnavailableError] = []

    async def write() -> None:
        with pytest.raises(StoreUnavailableError) as caught:
            await ledger.write([settlement("l")], [], [])
        told.append(caught.value)

    async with anyio.create_task_group() as tasks, open_ledger(AwayStore(), GONE_SOON) as ledger:
        tasks.start_soon(write)
        while not ledger.waiting:
            await anyio.lowlevel.checkpoint()

    assert len(told) == 1


async def test_beyond_a_bound_whoever_writes_waits_and_what_it_hands_in_is_not_accepted() -> None:
    settlements = [settlement(f"l{number}") for number in range(ENTRIES_WAITING_MAX)]
    some_more = [settlement(f"m{number}") for number in range(2 * ENTRIES_PER_TRANSACTION_MAX)]

    async with open_ledger(AwayStore(), GONE_SOON) as ledger, anyio.create_task_group() as tasks:
        tasks.start_soon(ledger.write, settlements, [], [])
        tasks.start_soon(ledger.write, some_more, [], [])
        with anyio.move_on_after(0.5):
            while ledger.waiting < ENTRIES_WAITING_MAX + len(some_more):
                await anyio.lowlevel.checkpoint()

        assert ENTRIES_WAITING_MAX <= ledger.waiting <= ENTRIES_WAITING_MAX + ENTRIES_PER_TRANSACTION_MAX
        tasks.cancel_scope.cancel()


async def test_what_repeats_itself_within_minutes_is_stored_once(store: Database, ledger: BatchWriter) -> None:
    account = await add_account(store, "a")
    samples = [usage_seen(10 + second / 100, at=NOON + timedelta(seconds=second)) for second in range(20)]

    for sample in samples:
        await ledger.write([], [], [(account.account_id, sample)])

    async with store.begin(writing=False) as unit:
        assert await unit.accounts.newest_evidence() == {account.account_id: [samples[0]]}


async def test_a_restart_of_the_database_loses_nothing() -> None:
    with running_postgresql() as server:
        url = server.url("postgres")
        await migrate(url, backup=False, backup_files_max=1, now=NOON)
        async with open_database(url) as store, open_ledger(store, AT_ONCE) as ledger:
            await ledger.write([settlement("before")], [], [])
            server.stop()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ledger.write, [settlement("during")], [], [])
                while not ledger.waiting:
                    await anyio.lowlevel.checkpoint()
                server.start()

            assert len(await attempts(store, "before")) == 1
            assert len(await attempts(store, "during")) == 1


WRITER = """
import sys
import anyio
from codex_lb.control.store.batch_writer import open_ledger
from codex_lb.control.store.database import open_database
from tests.contract.store.examples import settlement

async def main(url):
    async with open_database(url) as store, open_ledger(store) as ledger, anyio.create_task_group() as tasks:
        async def write(number):
            await ledger.write([settlement(f"l{number}")], [], [])
            print(f"l{number}", flush=True)
        for number in range(10_000):
            tasks.start_soon(write, number)

anyio.run(main, sys.argv[1])
"""


async def test_a_kill_loses_nothing_that_was_acknowledged(database_url: str) -> None:
    acknowledged = await run_sync(acknowledged_before_a_kill, database_url)

    assert 700 <= len(acknowledged) < 10_000
    async with open_database(database_url) as store, store.begin(writing=False) as unit:
        for lease_id in acknowledged:
            assert len(await unit.turns.attempts(TurnId(f"turn-of-{lease_id}"))) == 1


def acknowledged_before_a_kill(database_url: str) -> list[str]:
    """Kills the writer in the midst of its second transaction."""
    program = [sys.executable, "-c", WRITER, database_url]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(700)]
        writer.kill()
        return acknowledged + writer.stdout.read().split()
