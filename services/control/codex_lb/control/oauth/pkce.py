"""PKCE (RFC 7636): only who started a sign-in can exchange its code."""

from __future__ import annotations

import base64
import hashlib
import secrets

SECRET_BYTES = 32


def new_secret() -> str:
    """A verifier, or a `state`: 43 characters that nobody can guess."""
    return secrets.token_urlsafe(SECRET_BYTES)


def challenge_of(verifier: str) -> str:
    """What the authorization page is told of the verifier (S256)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
