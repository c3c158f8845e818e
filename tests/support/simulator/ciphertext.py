"""Opaque content that only the account that received it can read. Pure.

The real thing is encrypted; ours carries the account in plain sight of this module, so that foreign ciphertext shows.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator
from typing import Final

from tests.support.simulator.prompts import JsonObject, input_items

_MARK: Final = "gAAAAAB"  # how upstream's ciphertext begins
_DIGEST_CHARS: Final = 12


def seal(account_id: str, nonce: str) -> str:
    """Ciphertext of the account; the nonce makes it unique."""
    plain = f"{account_id} {nonce} {_digest(account_id, nonce)}"
    return _MARK + base64.urlsafe_b64encode(plain.encode()).decode()


def owner_of(ciphertext: str) -> str | None:
    """The account id that the ciphertext was made for; None when it is not ours or was damaged."""
    if not ciphertext.startswith(_MARK):
        return None
    try:
        account_id, nonce, digest = base64.urlsafe_b64decode(ciphertext[len(_MARK) :]).decode().split(" ")
    except (binascii.Error, ValueError):
        return None
    return account_id if digest == _digest(account_id, nonce) else None


def foreign(body: JsonObject, account_id: str) -> Iterator[str]:
    """Every ciphertext of the input that this account cannot read."""
    for item in input_items(body):
        held = item.get("encrypted_content")
        if isinstance(held, str) and owner_of(held) != account_id:
            yield held


def _digest(account_id: str, nonce: str) -> str:
    return hashlib.sha256(f"{account_id} {nonce}".encode()).hexdigest()[:_DIGEST_CHARS]
