"""What the verbs need of the vault: sealing, opening, and the keys."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
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
