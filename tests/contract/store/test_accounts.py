"""Accounts and their sealed credentials, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone

import pytest

from codex_lb.control.domain.ids import AccountId, TurnId
from codex_lb.control.errors import AccountNotFoundError, StoreConflictError
from codex_lb.control.store.database import Database
from tests.contract.store.examples import NOON, account, add_account, report, sealed, settlement, usage_seen


async def test_accounts_come_back_whole_and_oldest_first(store: Database) -> None:
    younger, older = account("b", created_at=NOON), account("a", created_at=NOON - timedelta(days=1))

    async with store.begin(writing=True) as unit:
        await unit.accounts.add(younger, sealed())
        await unit.accounts.add(older, sealed())

    async with store.begin(writing=False) as unit:
        assert await unit.accounts.all() == [(older, sealed()), (younger, sealed())]


async def test_instants_are_stored_in_utc_wherever_they_were_taken(store: Database) -> None:
    taken_in_tokyo = NOON.astimezone(timezone(timedelta(hours=9)))

    async with store.begin(writing=True) as unit:
        await unit.accounts.add(account("a", created_at=taken_in_tokyo), sealed())

    async with store.begin(writing=False) as unit:
        [(stored, _)] = await unit.accounts.all()
    assert (stored.created_at, stored.created_at.utcoffset()) == (NOON, timedelta())


async def test_an_account_is_found_by_its_identity(store: Database) -> None:
    added = await add_account(store, "a")

    async with store.begin(writing=False) as unit:
        assert await unit.accounts.by_identity(added.identity) == added
        assert await unit.accounts.by_identity(account("b").identity) is None


async def test_an_identity_is_in_the_pool_once_and_a_conflict_leaves_the_unit_usable(store: Database) -> None:
    first = await add_account(store, "a")

    async with store.begin(writing=True) as unit:
        with pytest.raises(StoreConflictError):
            await unit.accounts.add(replace(first, account_id=AccountId("another id")), sealed())
        await unit.accounts.add(account("b"), sealed())

    async with store.begin(writing=False) as unit:
        assert [stored.account_id for stored, _ in await unit.accounts.all()] == ["account-a", "account-b"]


async def test_an_update_changes_the_row_and_never_the_login(store: Database) -> None:
    added = await add_account(store, "a")
    renamed = replace(added, alias="work", plan="pro", generation=99, updated_at=NOON + timedelta(hours=1))

    async with store.begin(writing=True) as unit:
        await unit.accounts.update(renamed)

    async with store.begin(writing=False) as unit:
        assert await unit.accounts.all() == [(replace(renamed, generation=1), sealed(1))]


async def test_an_account_that_is_not_there_cannot_be_changed(store: Database) -> None:
    async with store.begin(writing=True) as unit:
        with pytest.raises(AccountNotFoundError):
            await unit.accounts.update(account("a"))
        with pytest.raises(AccountNotFoundError):
            await unit.accounts.replace_credential(account("a"), sealed(2))


async def test_only_a_newer_login_replaces_a_login(store: Database) -> None:
    added = await add_account(store, "a")
    renewed = replace(added, generation=3, access_expires_at=NOON + timedelta(days=20))

    async with store.begin(writing=True) as unit:
        is_newer = await unit.accounts.replace_credential(renewed, sealed(3))
        is_repeated = await unit.accounts.replace_credential(renewed, sealed(3))
        is_late = await unit.accounts.replace_credential(replace(added, generation=2), sealed(2))

    assert (is_newer, is_repeated, is_late) == (True, False, False)
    async with store.begin(writing=False) as unit:
        [(stored, credential)] = await unit.accounts.all()
    assert (stored.generation, stored.access_expires_at, credential) == (3, NOON + timedelta(days=20), sealed(3))


async def test_deleting_an_account_takes_its_evidence_and_leaves_what_was_spent(store: Database) -> None:
    added = await add_account(store, "a")
    async with store.begin(writing=True) as unit:
        await unit.accounts.append_evidence([(added.account_id, usage_seen(10))])
        await unit.turns.record([settlement("l")], [report("turn-of-l")])

    async with store.begin(writing=True) as unit:
        was_there = await unit.accounts.delete(added.account_id, with_history=False)
        is_there_twice = await unit.accounts.delete(added.account_id, with_history=False)

    assert (was_there, is_there_twice) == (True, False)
    async with store.begin(writing=False) as unit:
        assert await unit.accounts.all() == []
        assert await unit.accounts.newest_evidence() == {}
        assert await unit.turns.report(TurnId("turn-of-l")) is not None
        assert len(await unit.turns.attempts(TurnId("turn-of-l"))) == 1


async def test_deleting_an_account_with_its_history_leaves_nothing_of_it(store: Database) -> None:
    gone, other = await add_account(store, "a"), await add_account(store, "b")
    async with store.begin(writing=True) as unit:
        await unit.turns.record(
            [settlement("l"), settlement("m", account_id=other.account_id)],
            [report("turn-of-l"), report("turn-of-m", account_id=other.account_id)],
        )

    async with store.begin(writing=True) as unit:
        await unit.accounts.delete(gone.account_id, with_history=True)

    async with store.begin(writing=False) as unit:
        assert await unit.turns.report(TurnId("turn-of-l")) is None
        assert await unit.turns.attempts(TurnId("turn-of-l")) == []
        assert await unit.turns.report(TurnId("turn-of-m")) is not None
        assert len(await unit.turns.attempts(TurnId("turn-of-m"))) == 1


async def test_an_account_that_was_deleted_can_be_added_again(store: Database) -> None:
    added = await add_account(store, "a")

    async with store.begin(writing=True) as unit:
        await unit.accounts.delete(added.account_id, with_history=False)
        await unit.accounts.add(added, sealed(1))

    async with store.begin(writing=False) as unit:
        assert await unit.accounts.all() == [(added, sealed(1))]
