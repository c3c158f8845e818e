"""Opens the vault at start, and refuses to when its key is not the one that the stored credentials were sealed with."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import structlog

from codex_lb.control.errors import WrongKeyError
from codex_lb.control.usecases.ports import Store, UnitOfWork
from codex_lb.control.vault.cipher import FernetVault
from codex_lb.control.vault.key_file import Key, create_keys, load_keys

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def open_vault(key_file: Path, store: Store) -> FernetVault:
    """Creates the key file for a database that never had a key, and only then.

    The ids of the keys are stored with the first start, before anything is sealed. Raises WrongKeyError when a later
    start has none of them, and KeyFileError when the file cannot be used.
    """
    async with store.begin(writing=True) as unit:
        known = await unit.fingerprints.load()
        keys = load_keys(key_file)
        if keys is None and known:
            raise WrongKeyError(_lost(key_file, known))
        if keys is None:
            keys = create_keys(key_file)
        present = _ids(keys)
        if known and not known & present:
            raise WrongKeyError(_mistaken(key_file, known, present))
        await unit.fingerprints.save(present - known - await _retired(unit))
        await unit.fingerprints.save([keys[0].key_id])  # what seals is in use, whatever became of it before
        await _settle_lost(unit, known - present)
    return FernetVault(keys, reload=partial(load_keys, key_file))


async def _retired(unit: UnitOfWork) -> frozenset[str]:
    return frozenset(key.key_id for key in await unit.fingerprints.all() if key.retired_at is not None)


async def _settle_lost(unit: UnitOfWork, lost: frozenset[str]) -> None:
    """Keys the file lacks: those that seal nothing were announced by a rotation that ended before it began."""
    counts = await unit.sealed_rows.count_by_key()
    await unit.fingerprints.forget([key_id for key_id in lost if not counts.get(key_id)])
    for key_id in sorted(lost):
        if sealed := counts.get(key_id, 0):
            log.error("the key file lacks a key that stored logins were sealed with", key=key_id, logins=sealed)


def _ids(keys: tuple[Key, ...]) -> frozenset[str]:
    return frozenset(key.key_id for key in keys)


def _lost(key_file: Path, known: frozenset[str]) -> str:
    return (
        f"The key file {key_file} is missing, and the stored logins were sealed with key {_shown(known)}. {_WHAT_TO_DO}"
    )


def _mistaken(key_file: Path, known: frozenset[str], present: frozenset[str]) -> str:
    return (
        f"The key file {key_file} holds key {_shown(present)}, and the stored logins were sealed with key"
        f" {_shown(known)}. {_WHAT_TO_DO}"
    )


_WHAT_TO_DO = (
    "Put back the key file from your copy. If it is lost, the stored logins are lost with it:"
    " start with an empty database and sign the accounts in again."
)


def _shown(key_ids: frozenset[str]) -> str:
    return " or ".join(sorted(key_ids))
