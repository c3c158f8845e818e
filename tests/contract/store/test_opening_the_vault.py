"""A start finds the key that the stored logins were sealed with, or refuses and says what to do."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from codex_lb.control.domain.account import Credential
from codex_lb.control.errors import KeyFileError, WrongKeyError
from codex_lb.control.store.database import Database
from codex_lb.control.vault.fingerprint import open_vault
from codex_lb.control.vault.key_file import create_keys

CREDENTIAL = Credential("access", "refresh", "id", None)


async def known_keys(store: Database) -> frozenset[str]:
    """What the database remembers."""
    async with store.begin(writing=False) as unit:
        return await unit.fingerprints.load()


async def test_the_first_start_makes_a_key_that_later_starts_find(store: Database, tmp_path: Path) -> None:
    file = tmp_path / "key"
    sealed = (await open_vault(file, store)).seal(CREDENTIAL, generation=1)

    vault = await open_vault(file, store)

    assert vault.open(sealed) == CREDENTIAL
    assert await known_keys(store) == {sealed.key_id}


async def test_a_key_that_was_laid_ready_is_used(store: Database, tmp_path: Path) -> None:
    [laid_ready] = create_keys(tmp_path / "key")

    vault = await open_vault(tmp_path / "key", store)

    assert vault.seal(CREDENTIAL, generation=1).key_id == laid_ready.key_id


async def test_a_lost_key_is_not_silently_replaced(store: Database, tmp_path: Path) -> None:
    file = tmp_path / "key"
    await open_vault(file, store)
    [lost] = await known_keys(store)
    remove(file)

    with pytest.raises(WrongKeyError, match=rf"{file} is missing.*{lost}.*Put back the key file") as caught:
        await open_vault(file, store)

    assert not has(file)
    assert "sign the accounts in again" in str(caught.value)


async def test_a_key_of_another_database_is_refused_and_both_are_named(store: Database, tmp_path: Path) -> None:
    await open_vault(tmp_path / "right", store)
    [right] = await known_keys(store)
    [wrong] = create_keys(tmp_path / "wrong")

    with pytest.raises(WrongKeyError, match=rf"wrong holds key {wrong.key_id}.*sealed with key {right}"):
        await open_vault(tmp_path / "wrong", store)

    assert await known_keys(store) == {right}


async def test_a_new_key_before_the_old_one_is_welcome(store: Database, tmp_path: Path) -> None:
    old_file, new_file = tmp_path / "old", tmp_path / "new"
    sealed_before = (await open_vault(old_file, store)).seal(CREDENTIAL, generation=1)
    create_keys(new_file)
    append(new_file, old_file)

    vault = await open_vault(new_file, store)

    assert vault.open(sealed_before) == CREDENTIAL
    assert await known_keys(store) == {sealed_before.key_id, vault.seal(CREDENTIAL, generation=2).key_id}


async def test_a_key_file_that_others_can_read_stops_the_start_before_anything_is_stored(
    store: Database, tmp_path: Path
) -> None:
    create_keys(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)

    with pytest.raises(KeyFileError):
        await open_vault(tmp_path / "key", store)

    assert await known_keys(store) == frozenset()


async def test_replicas_that_start_together_with_keys_of_their_own_do_not_all_start(
    store: Database, tmp_path: Path
) -> None:
    started: list[str] = []
    refused: list[WrongKeyError] = []

    async def start(name: str) -> None:
        try:
            vault = await open_vault(tmp_path / name, store)
        except WrongKeyError as error:
            refused.append(error)
        else:
            started.append(vault.seal(CREDENTIAL, generation=1).key_id)

    for name in ("a", "b", "c"):
        create_keys(tmp_path / name)
    async with store.begin(writing=False), store.begin(writing=False), store.begin(writing=False):
        pass  # connecting takes turns; now there are connections, and the three meet at the fingerprints
    async with anyio.create_task_group() as tasks:
        for name in ("a", "b", "c"):
            tasks.start_soon(start, name)

    assert (len(started), len(refused)) == (1, 2)
    assert await known_keys(store) == set(started)


def remove(file: Path) -> None:
    """As a container without a volume does."""
    file.unlink()


def has(file: Path) -> bool:
    """Whether it is there."""
    return file.exists()


def append(file: Path, other: Path) -> None:
    """Puts the keys of the other file after those of the first."""
    file.write_bytes(file.read_bytes() + other.read_bytes())
