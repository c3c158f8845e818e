"""What is secret of a sign-in, sealed into its row, so that another replica or a later start can finish it."""

from __future__ import annotations

import hashlib

import msgspec

from codex_lb.control.domain.enrolment import Flow
from codex_lb.control.domain.ids import FlowId
from codex_lb.control.errors import CredentialUnreadableError
from codex_lb.control.usecases.vault_ports import Sealed, Vault


class FlowSecret(msgspec.Struct, frozen=True):
    """Fields may be added with a default, and never taken away."""

    flow_id: FlowId  # so that no other row's secret can be put in its place
    verifier: str = ""
    redirect_uri: str = ""
    device_auth_id: str = ""
    user_code: str = ""

    def __repr__(self) -> str:
        return "FlowSecret(…)"


def seal(vault: Vault, secret: FlowSecret) -> Sealed:
    """For the row."""
    return vault.seal_bytes(msgspec.json.encode(secret))


def open_secret(vault: Vault, flow: Flow, sealed: Sealed) -> FlowSecret:
    """Raises CredentialUnreadableError."""
    plaintext = vault.open_bytes(sealed)
    try:
        secret = msgspec.json.decode(plaintext, type=FlowSecret)
    except msgspec.DecodeError:
        secret = None  # no exception from in here: a decoder's complaint may quote what it could not read
    if secret is None or secret.flow_id != flow.flow_id:
        raise CredentialUnreadableError("the sealed secret is not that of this sign-in")
    return secret


def digest_of(state: str) -> str:
    """How a sign-in is found by its `state`, which itself is not stored."""
    return hashlib.sha256(state.encode()).hexdigest()
