"""What the tokens of a login say: whose it is, with which plan, and for how long. Pure.

Signatures are not checked. A forged token gains nothing: upstream, which does check, would refuse every turn.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from codex_lb.control.domain.account import Identity

ISSUER = "https://auth.openai.com"  # of tokens that name none
AUTH = "https://api.openai.com/auth"  # the claim under which upstream keeps its own
PROFILE = "https://api.openai.com/profile"
USER_NAMES = ("chatgpt_user_id", "user_id", "chatgpt_account_user_id", "sub")
WORKSPACE_NAMES = ("workspace_id", "chatgpt_workspace_id", "organization_id", "org_id", "tenant_id")
ACCOUNT_NAMES = ("chatgpt_account_id",)
PLAN_NAMES = ("chatgpt_plan_type",)
EMAIL_NAMES = ("email",)
CLAIM_CHARS_MAX = 256  # the longest e-mail address there can be has 254


class UnreadableTokenError(Exception):
    """A token that says nothing we understand. The text completes a sentence: "tokens.id_token is not a JWT"."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Whose a login is."""

    identity: Identity
    email: str
    plan: str
    chatgpt_account_id: str
    access_expires_at: datetime | None


def read_claims(id_token: str, access_token: str, *, chatgpt_account_id: str = "") -> Claims:
    """The claims of both tokens, the identity token's first; `chatgpt_account_id` stands in where neither names one.

    Raises UnreadableTokenError when the identity token cannot be read or names no user. An access token need not be
    readable: its form is the issuer's own affair.
    """
    identity_claims = payload(id_token)
    try:
        access_claims = payload(access_token)
    except UnreadableTokenError:
        access_claims = {}
    places = list(_places(identity_claims)) + list(_places(access_claims))
    user_id = _first(places, USER_NAMES)
    if not user_id:
        raise UnreadableTokenError("names no user")
    account_id = _first(places, ACCOUNT_NAMES) or chatgpt_account_id
    return Claims(
        identity=Identity(
            issuer=_text(identity_claims.get("iss")).rstrip("/") or ISSUER,
            user_id=user_id,
            workspace_id=_first(places, WORKSPACE_NAMES) or account_id,
        ),
        email=_first(places, EMAIL_NAMES),
        plan=_first(places, PLAN_NAMES).lower(),
        chatgpt_account_id=account_id,
        access_expires_at=_instant(access_claims.get("exp")),
    )


def access_expiry(access_token: str) -> datetime | None:
    """When an access token ends; None where its form is not ours to read."""
    try:
        return _instant(payload(access_token).get("exp"))
    except UnreadableTokenError:
        return None


def payload(token: str) -> Mapping[str, object]:
    """The claims of a JWT. Raises UnreadableTokenError."""
    parts = token.split(".")
    if len(parts) != 3:
        raise UnreadableTokenError("is not a JWT")
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise UnreadableTokenError("is not a JWT whose claims can be read") from None  # the cause would quote it
    if not isinstance(claims, dict):
        raise UnreadableTokenError("is a JWT without claims")
    return claims


def _places(claims: Mapping[str, object]) -> Iterable[Mapping[str, object]]:
    """Where a claim may stand, the most telling place first."""
    for nested in (claims.get(AUTH), claims, claims.get(PROFILE)):
        if isinstance(nested, dict):
            yield nested


def _first(places: Iterable[Mapping[str, object]], names: Iterable[str]) -> str:
    found = (_text(place.get(name)) for name in names for place in places)
    return next((text for text in found if text), "")


def _text(value: object) -> str:
    """A claim as a label: printable, bounded, empty when it is no text."""
    if not isinstance(value, str):
        return ""
    # Half surrogates and NUL can be written in JSON, but no database and no protobuf takes them.
    return "".join(c for c in value if c.isprintable())[:CLAIM_CHARS_MAX].strip()


def _instant(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
