"""The keys in the file and those the vault uses, changed together: first the file, safely on disk, then the vault."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

import anyio.to_thread

from codex_lb.control.vault.cipher import FernetVault
from codex_lb.control.vault.key_file import Key, add_key, new_key, remove_keys


class KeyRing:
    """The Keys port over the key file."""

    def __init__(self, file: Path, vault: FernetVault) -> None:
        self._file = file
        self._vault = vault
        self._drafts: dict[str, Key] = {}

    @property
    def ids(self) -> Sequence[str]:
        """Newest first."""
        return self._vault.key_ids

    def draft(self) -> str:
        """A new key, in memory only."""
        key = new_key()
        self._drafts[key.key_id] = key
        return key.key_id

    async def adopt(self, key_id: str) -> None:
        """Into the file, then into use."""
        self._vault.use(await anyio.to_thread.run_sync(partial(add_key, self._file, self._drafts.pop(key_id))))

    async def drop(self, key_ids: Collection[str]) -> None:
        """Out of the file."""
        self._vault.use(await anyio.to_thread.run_sync(partial(remove_keys, self._file, key_ids)))
