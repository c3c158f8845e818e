"""The vault: what is sealed comes back, under any key of the set, and nothing else does."""

from __future__ import annotations

import traceback
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.control.domain.account import Credential
from codex_lb.control.errors import CredentialUnreadableError
from codex_lb.control.usecases.vault_ports import SealedCredential
from codex_lb.control.vault.cipher import FernetVault
from codex_lb.control.vault.key_file import Key, key_id_of


def key(letter: bytes) -> Key:
    """A key that is always the same."""
    secret = letter * 43 + b"="
    return Key(key_id_of(secret), secret)


OLD, NEW = key(b"A"), key(b"E")
CREDENTIAL = Credential("access-hush", "refresh-hush", "id-hush", datetime(2026, 5, 4, 12, tzinfo=UTC))

tokens = st.text(st.characters(codec="utf-8"))
credentials = st.builds(
    Credential,
    tokens,
    tokens,
    tokens,
    st.none() | st.datetimes(datetime(1, 1, 2), timezones=st.just(UTC)),  # noqa: DTZ001
)


@given(credential=credentials, generation=st.integers(0, 2**63 - 1))
def test_what_is_sealed_opens_unchanged(credential: Credential, generation: int) -> None:
    vault = FernetVault([NEW])

    sealed = vault.seal(credential, generation=generation)

    assert sealed.generation == generation
    assert vault.open(sealed) == credential


def test_the_first_key_seals_and_every_key_opens() -> None:
    before = FernetVault([OLD]).seal(CREDENTIAL, generation=1)
    vault = FernetVault([NEW, OLD])

    after = vault.seal(CREDENTIAL, generation=2)

    assert (before.key_id, after.key_id) == (OLD.key_id, NEW.key_id)
    assert vault.open(before) == vault.open(after) == CREDENTIAL


def test_a_key_id_nobody_knows_is_no_obstacle_while_the_key_is_there() -> None:
    sealed = replace(FernetVault([OLD]).seal(CREDENTIAL, generation=1), key_id="named otherwise")

    assert FernetVault([NEW, OLD]).open(sealed) == CREDENTIAL


def unreadable() -> dict[str, SealedCredential]:
    """What a vault with the new key must not open."""
    sealed = FernetVault([NEW]).seal(CREDENTIAL, generation=2)
    nonsense = Fernet(NEW.secret).encrypt(b'{"generation": 2, "access_token": "access-hush')
    return {
        "of another key": FernetVault([OLD]).seal(CREDENTIAL, generation=2),
        "changed": replace(sealed, ciphertext=sealed.ciphertext[:-9] + b"AAAAAAAA="),
        "cut short": replace(sealed, ciphertext=sealed.ciphertext[:40]),
        "empty": replace(sealed, ciphertext=b""),
        "of another generation": replace(sealed, generation=3),
        "not written by us": replace(sealed, ciphertext=nonsense),
    }


@pytest.mark.parametrize("case", unreadable())
def test_anything_else_is_unreadable_and_the_complaint_holds_no_secret(case: str) -> None:
    with pytest.raises(CredentialUnreadableError) as caught:
        FernetVault([NEW]).open(unreadable()[case])

    shown = "".join(traceback.format_exception(caught.value))
    assert "hush" not in shown
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_a_vault_does_not_show_its_keys() -> None:
    vault = FernetVault([NEW])

    assert NEW.secret.decode() not in repr(vault) + repr(vars(vault))


def test_a_vault_needs_a_key() -> None:
    with pytest.raises(ValueError, match="needs a key"):
        FernetVault([])
