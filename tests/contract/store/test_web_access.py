"""Sign-in links and web sessions, on both databases."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio

from codex_lb.control.domain.ids import WebSessionId
from codex_lb.control.domain.web_access import SignInLink, Way, WebSecret, WebSession
from codex_lb.control.store.database import Database
from codex_lb.control.usecases.vault_ports import Sealed
from codex_lb.control.usecases.web_access import WebAccess
from codex_lb.control.vault.cipher import FernetVault
from codex_lb.control.vault.fingerprint import open_vault
from codex_lb.control.vault.key_file import create_keys
from codex_lb.kit.ids import new_id
from tests.contract.store.examples import NOON
from tests.support.clock import FakeClock

LINK = SignInLink("link_1", Way.LINK, b"digest", NOON, NOON + timedelta(minutes=10))
FIRST = SignInLink("bootstrap", Way.BOOTSTRAP, b"first", NOON, None)
SEALED = Sealed("key", b"sealed")
SESSION = WebSession(WebSessionId("web_1"), b"cookie", Way.BOOTSTRAP, NOON, NOON, "203.0.113.7", "a browser")


async def test_links_are_kept_and_of_one_name_there_is_one(store: Database) -> None:
    async with store.begin(writing=True) as unit:
        added = [await unit.web_access.add_link(FIRST, SEALED), await unit.web_access.add_link(LINK)]
        again = await unit.web_access.add_link(replace(FIRST, digest=b"other"), SEALED)

    async with store.begin(writing=False) as unit:
        assert await unit.web_access.links() == [(FIRST, SEALED), (LINK, None)]
    assert (added, again) == ([True, True], False)


async def test_a_link_is_spent_once_whoever_asks_and_its_secret_is_erased(store: Database) -> None:
    spent: list[bool] = []
    async with store.begin(writing=True) as unit:
        await unit.web_access.add_link(FIRST, SEALED)

    async def spend(digest: bytes) -> None:
        async with store.begin(writing=True) as unit:
            spent.append(await unit.web_access.spend(FIRST.link_id, digest, at=NOON))

    await spend(b"another")
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(spend, FIRST.digest)

    assert (spent[0], sum(spent)) == (False, 1)
    async with store.begin(writing=False) as unit:
        assert await unit.web_access.links() == [(replace(FIRST, spent_at=NOON), None)]


async def test_a_link_is_removed_unless_it_is_another_one_meanwhile(store: Database) -> None:
    async with store.begin(writing=True) as unit:
        await unit.web_access.add_link(FIRST, SEALED)
        await unit.web_access.remove_link(FIRST.link_id, b"another")
        kept = await unit.web_access.links()
        await unit.web_access.remove_link(FIRST.link_id, FIRST.digest)

    async with store.begin(writing=False) as unit:
        assert (len(kept), await unit.web_access.links()) == (1, [])


async def test_controls_that_start_at_once_agree_on_the_link_of_the_first_visit_also_after_it_was_used(
    store: Database, tmp_path: Path
) -> None:
    vault = await open_vault(tmp_path / "encryption.key", store)
    told: list[str] = []

    async def start() -> None:
        access = WebAccess(
            store,
            vault,
            FakeClock(),
            fixed_secret=None,
            new_id=new_id,
            new_secret=lambda: WebSecret(secrets.token_urlsafe(32)),
        )
        secret = (await access.invite()).secret
        assert secret is not None
        told.append(secret.text)

    for round_ in range(3):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(start)
        assert len(set(told[-5:])) == 1
        async with store.begin(writing=True) as unit:
            spent = await unit.web_access.spend("bootstrap", WebSecret(told[-1]).digest, at=NOON)
        assert (spent, len(set(told))) == (True, round_ + 1)


async def test_a_link_that_cannot_be_read_any_more_gives_way_to_another(store: Database, tmp_path: Path) -> None:
    access = partial(
        WebAccess,
        store,
        clock=FakeClock(),
        fixed_secret=None,
        new_id=new_id,
        new_secret=lambda: WebSecret(secrets.token_urlsafe(32)),
    )
    other_key = FernetVault(create_keys(tmp_path / "other.key"))

    first = await access(vault=other_key).invite()
    second = await access(vault=await open_vault(tmp_path / "encryption.key", store)).invite()

    assert first.secret is not None
    assert second.secret not in (None, first.secret)
    async with store.begin(writing=True) as unit:
        assert not await unit.web_access.spend("bootstrap", first.secret.digest, at=NOON)


async def test_sessions_are_found_by_their_digest_newest_first_and_removed_once(store: Database) -> None:
    later = replace(SESSION, session_id=WebSessionId("web_2"), digest=b"later", created_at=NOON + timedelta(seconds=1))
    async with store.begin(writing=True) as unit:
        await unit.web_access.add(SESSION)
        await unit.web_access.add(later)

    async with store.begin(writing=True) as unit:
        assert await unit.web_access.sessions() == [later, SESSION]
        assert await unit.web_access.by_digest(SESSION.digest) == SESSION
        assert await unit.web_access.by_digest(b"nobody's") is None
        removed = [await unit.web_access.remove(SESSION.session_id) for _ in range(2)]
        assert (removed, await unit.web_access.sessions()) == ([True, False], [later])


async def test_a_session_is_never_seen_earlier_than_it_was(store: Database) -> None:
    async with store.begin(writing=True) as unit:
        await unit.web_access.add(SESSION)
        for minutes in (5, 3):
            await unit.web_access.seen(SESSION.session_id, at=NOON + timedelta(minutes=minutes))

    async with store.begin(writing=False) as unit:
        assert await unit.web_access.sessions() == [replace(SESSION, seen_at=NOON + timedelta(minutes=5))]
