"""The address of an alert target, sealed: whoever has it can write there."""

from __future__ import annotations

import msgspec

from codex_lb.control.domain.alert import Target
from codex_lb.control.domain.alert_form import Address
from codex_lb.control.errors import CredentialUnreadableError
from codex_lb.control.usecases.vault_ports import Sealed, Vault


class AlertSecret(msgspec.Struct, frozen=True):
    """Fields may be added with a default, and never taken away."""

    target_id: str  # so that no other row's secret can be put in its place
    url: str
    secret: str = ""
    chat_id: str = ""

    def __repr__(self) -> str:
        return "AlertSecret(…)"


def seal_address(vault: Vault, target: Target, address: Address) -> Sealed:
    """For the row."""
    secret = AlertSecret(target.target_id, address.url, address.secret, address.chat_id)
    return vault.seal_bytes(msgspec.json.encode(secret))


def open_address(vault: Vault, target: Target, sealed: Sealed) -> Address:
    """Raises CredentialUnreadableError."""
    plaintext = vault.open_bytes(sealed)
    try:
        secret = msgspec.json.decode(plaintext, type=AlertSecret)
    except msgspec.DecodeError:
        secret = None  # no exception from in here: a decoder's complaint may quote what it could not read
    if secret is None or secret.target_id != target.target_id:
        raise CredentialUnreadableError("the sealed address is not that of this alert target")
    return Address(secret.url, secret.secret, secret.chat_id)
