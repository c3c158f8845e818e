"""May this caller spend the pool? By key when keys are on; else only from this machine or a listed network."""

from __future__ import annotations

import hashlib
from datetime import datetime

from codex_lb.gateway.errors import UnauthenticatedError
from codex_lb.gateway.ingress.client_ip import Caller
from codex_lb.gateway.leasing.policy import KeyPolicy, Policy

REMOTE_REFUSED = (
    "Proxy authentication must be configured before remote access is allowed. "
    "Turn API keys on and send one, or list your network in CODEX_LB_PROXY_UNAUTHENTICATED_CLIENT_CIDRS."
)


def authenticate(policy: Policy, caller: Caller, authorization: bytes, *, now: datetime) -> KeyPolicy | None:
    """The key that pays, None while keys are off. Raises UnauthenticatedError (data-plane reference 1.1 and 6.1)."""
    if policy.api_key_auth_enabled:
        return check_key(policy, authorization, now=now)
    peer = caller.peer
    if caller.is_local or (
        peer is not None
        and any(peer.version == n.version and peer in n for n in policy.unauthenticated_client_networks)
    ):
        return None
    raise UnauthenticatedError(REMOTE_REFUSED)


def check_key(policy: Policy, authorization: bytes, *, now: datetime) -> KeyPolicy:
    """A valid key, or UnauthenticatedError. Only the Bearer scheme is read."""
    scheme, _, key = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not key.strip():
        raise UnauthenticatedError("Missing API key in Authorization header")
    known = policy.keys.get(hashlib.sha256(key.strip()).digest())
    if known is None or not known.enabled:
        raise UnauthenticatedError("Invalid API key")
    if known.expires_at is not None and known.expires_at <= now:
        raise UnauthenticatedError("API key has expired")
    return known
