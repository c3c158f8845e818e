"""May this caller spend the pool? By key when keys are on; else only from this machine or a listed network."""

from __future__ import annotations

import hashlib
from datetime import datetime

from codex_lb.gateway.errors import ForbiddenAddressError, MissingKeyError, UnauthenticatedError, WrongKeyError
from codex_lb.gateway.leasing.policy import NO_KEY, KeyPolicy, Policy
from codex_lb.kit.client_ip import Caller, is_in

REMOTE_REFUSED = (
    "Proxy authentication must be configured before remote access is allowed. Whoever runs codex-lb makes you an API key and"
    " has keys asked for: on its page, to which `codex-lb admin sign-in-link` prints a link, or with `codex-lb admin api-keys"
    " create NAME` and `codex-lb admin settings set api_key_auth_enabled=true`. Or they list your network in"
    " CODEX_LB_PROXY_UNAUTHENTICATED_CLIENT_CIDRS."
)
EXPIRED, INVALID = "API key has expired", "Invalid API key"


def authenticate(policy: Policy, caller: Caller, authorization: bytes, *, now: datetime) -> KeyPolicy | None:
    """The key that pays, None while keys are off. Raises UnauthenticatedError (data-plane reference 1.1 and 6.1)."""
    if policy.api_key_auth_enabled:
        return check_key(policy, authorization, now=now)
    if caller.is_local or is_in(caller.peer, policy.unauthenticated_client_networks):
        return None
    raise UnauthenticatedError(REMOTE_REFUSED)


def check_key(policy: Policy, authorization: bytes, *, now: datetime) -> KeyPolicy:
    """A valid key, or UnauthenticatedError. Only the Bearer scheme is read.

    An unknown key takes the same path as a known one, down to the line, so that the time it takes tells nothing.
    """
    scheme, _, key = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not key.strip():
        raise MissingKeyError("Missing API key in Authorization header")
    known = policy.keys.get(hashlib.sha256(key.strip()).digest(), NO_KEY)
    is_expired = known.expires_at <= now
    is_good = (known.enabled, known.replaced_at > now, not is_expired) == (True, True, True)
    problem = EXPIRED if known.enabled and is_expired else INVALID
    if not is_good:
        raise WrongKeyError(problem)
    return known


def check_address(policy: Policy, caller: Caller) -> None:
    """Raises ForbiddenAddressError for a client that the allow-list, where there is one, does not hold."""
    allowed = policy.allowed_client_networks
    if allowed and not is_in(caller.client, allowed):
        raise ForbiddenAddressError("Access denied for client IP")
