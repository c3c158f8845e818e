"""What the verbs need of the vault: sealing, opening, and the keys; and what is stored of all that."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from codex_lb.control.domain.account import Credential


@dataclass(frozen=True, slots=True)
class SealedCredential:
    """An account's tokens as the vault sealed them; only the vault can open it."""

    generation: int
    key_id: str
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class Sealed:
    """Anything as the vault sealed it."""

    key_id: str
    ciphertext: bytes


class Vault(Protocol):
    """Seals and opens credentials, and other small secrets."""

    def seal(self, credential: Credential, *, generation: int) -> SealedCredential:
        """Encrypts with the present key."""
        ...

    def open(self, sealed: SealedCredential) -> Credential:
        """Raises CredentialUnreadableError when no key of the set fits."""
        ...

    def seal_bytes(self, secret: bytes) -> Sealed:
        """Encrypts with the present key. What is inside must say what it is for."""
        ...

    def open_bytes(self, sealed: Sealed) -> bytes:
        """Raises CredentialUnreadableError when no key of the set fits."""
        ...


class Keys(Protocol):
    """The encryption keys: the file that keeps them, and the vault that uses them."""

    @property
    def ids(self) -> Sequence[str]:
        """Those in the file, newest first; the first one seals."""
        ...

    def draft(self) -> str:
        """Makes a key that is nowhere yet, and tells its id."""
        ...

    async def adopt(self, key_id: str) -> None:
        """The drafted key is the first of the file, safely on disk, and then seals. Raises KeyFileError."""
        ...

    async def drop(self, key_ids: Collection[str]) -> None:
        """They leave the file; what is in memory may open for as long as the process lives. Raises KeyFileError."""
        ...


class Fingerprints(Protocol):
    """Which encryption keys the stored credentials were sealed with, by key id."""

    async def load(self) -> frozenset[str]:
        """Every key id seen so far and not retired. In a writing unit nobody else loads them until the unit ends."""
        ...

    async def all(self) -> Sequence[Fingerprint]:
        """What became of every key; the same holds in a writing unit."""
        ...

    async def save(self, key_ids: Iterable[str], *, added_at: datetime | None = None) -> None:
        """Adds to those in use; one that was retired is in use again."""
        ...

    async def begin_retiring(self, key_ids: Collection[str], *, at: datetime) -> None:
        """What they sealed is sealed anew from now on."""
        ...

    async def keep(self, key_ids: Collection[str]) -> None:
        """They are not retiring after all."""
        ...

    async def retire(self, key_ids: Collection[str], *, at: datetime) -> None:
        """They seal nothing any more."""
        ...

    async def forget(self, key_ids: Collection[str]) -> None:
        """They were never used."""
        ...


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What became of one encryption key."""

    key_id: str
    added_at: datetime | None = None  # None: before this was noted
    retiring_at: datetime | None = None
    retired_at: datetime | None = None

    @property
    def is_retiring(self) -> bool:
        """Whether its rotation is under way."""
        return self.retiring_at is not None and self.retired_at is None


@dataclass(frozen=True, slots=True)
class SealedRow:
    """One stored secret, wherever it stands."""

    table: str
    row_id: str
    sealed: Sealed


class SealedRows(Protocol):
    """Everything the vault sealed, whatever it is: what a rotation of keys has to seal anew."""

    async def count_by_key(self) -> Mapping[str, int]:
        """How many rows each key seals."""
        ...

    async def of_keys(self, key_ids: Collection[str], *, after: SealedRow | None, rows_max: int) -> Sequence[SealedRow]:
        """The next rows that these keys sealed."""
        ...

    async def replace(self, row: SealedRow, sealed: Sealed) -> bool:
        """Puts the same secret, sealed anew, in place; False when the row has another one by now."""
        ...
