"""Seals credentials, and other small secrets, with Fernet (AES-128-CBC and HMAC-SHA256) under a set of keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from codex_lb.control.domain.account import Credential
from codex_lb.control.errors import CredentialUnreadableError
from codex_lb.control.usecases.vault_ports import Sealed, SealedCredential
from codex_lb.control.vault.key_file import Key


class FernetVault:
    """Seals with the first key, opens with any. Neither tokens nor keys are ever part of a text it makes."""

    def __init__(self, keys: Sequence[Key], *, reload: Callable[[], Sequence[Key] | None] = lambda: None) -> None:
        """`reload` is asked when a key is named that is not here: another replica may have added it to the file."""
        self._ciphers: dict[str, Fernet] = {}
        self._reload = reload
        self.use(keys)

    @property
    def key_ids(self) -> Sequence[str]:
        """Of the keys in use, newest first."""
        return self._key_ids

    def use(self, keys: Sequence[Key]) -> None:
        """From now on the first of these seals. A key that is no longer among them still opens: what was read from the
        database a moment ago may be sealed with it.
        """
        if not keys:
            raise ValueError("a vault needs a key")
        self._key_ids = tuple(key.key_id for key in keys)
        self._ciphers |= {key.key_id: Fernet(key.secret) for key in keys}

    def seal(self, credential: Credential, *, generation: int) -> SealedCredential:
        """The generation is sealed in, so that an older login cannot be passed off as a newer one."""
        inside = _Inside(
            generation,
            credential.access_token,
            credential.refresh_token,
            credential.id_token,
            credential.access_expires_at,
        )
        sealed = self.seal_bytes(msgspec.json.encode(inside))
        return SealedCredential(generation, sealed.key_id, sealed.ciphertext)

    def open(self, sealed: SealedCredential) -> Credential:
        """Raises CredentialUnreadableError."""
        plaintext = self.open_bytes(Sealed(sealed.key_id, sealed.ciphertext))
        inside = _inside_of(plaintext)
        if inside is None or inside.generation != sealed.generation:
            raise CredentialUnreadableError(f"the credential is not the login of generation {sealed.generation}")
        return Credential(inside.access_token, inside.refresh_token, inside.id_token, inside.access_expires_at)

    def seal_bytes(self, secret: bytes) -> Sealed:
        """With the present key."""
        present = self._key_ids[0]
        return Sealed(present, self._ciphers[present].encrypt(secret))

    def open_bytes(self, sealed: Sealed) -> bytes:
        """Raises CredentialUnreadableError."""
        if sealed.key_id not in self._ciphers and (keys := self._reload()):
            self.use(keys)
        plaintext = self._plaintext(sealed)
        if plaintext is None:
            raise CredentialUnreadableError(
                f"the credential was sealed with key {sealed.key_id}, which is not in the key file, or it was changed"
            )
        return plaintext

    def _plaintext(self, sealed: Sealed) -> bytes | None:
        named = self._ciphers.get(sealed.key_id)
        for cipher in [named] if named else self._ciphers.values():
            try:
                return cipher.decrypt(sealed.ciphertext)
            except InvalidToken:
                continue
        return None


class _Inside(msgspec.Struct, frozen=True):
    """What is sealed. Fields may be added with a default, and never taken away."""

    generation: int
    access_token: str
    refresh_token: str
    id_token: str
    access_expires_at: datetime | None

    def __repr__(self) -> str:
        return "_Inside(…)"


def _inside_of(plaintext: bytes) -> _Inside | None:
    # None and no exception: a decoder's complaint may quote what it could not read.
    try:
        return msgspec.json.decode(plaintext, type=_Inside)
    except msgspec.DecodeError:
        return None
