"""The OAuth issuer: JWT-shaped tokens, single-use refresh tokens in families, PKCE codes."""

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from tests.support.simulator import faults
from tests.support.simulator.accounts import Account
from tests.support.simulator.prompts import JsonObject
from tests.support.simulator.record import Login

CLIENT_ID: Final = "app_EMoamEEZ73f0CkXaXp7hrann"
_ID_TTL_S: Final = 3600
_HEADER: Final = {"alg": "RS256", "typ": "JWT", "kid": "simulated"}


@dataclass(slots=True)
class _Family:
    """All refresh tokens that descend from one login."""

    account: Account
    current: str
    is_revoked: bool = False


@dataclass(frozen=True, slots=True)
class _Access:
    account: Account
    expires_at: float


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code before its exchange."""

    account: Account
    challenge: str
    redirect_uri: str


@dataclass(slots=True)
class Device:
    """A sign-in that waits for somebody to type its user code."""

    device_auth_id: str
    user_code: str
    account: Account | None = None


class Issuer:
    """Who holds which token."""

    def __init__(self) -> None:
        self._access: dict[str, _Access] = {}
        self._families: dict[str, _Family] = {}  # by every refresh token ever issued
        self._codes: dict[str, Code] = {}
        self._devices: dict[str, Device] = {}

    def login(self, account: Account) -> Login:
        """A new family for the account."""
        return self._issue(account, None)

    def account_of(self, access_token: str) -> Account | None:
        """Whose live access token this is."""
        held = self._access.get(access_token)
        return held.account if held and held.expires_at > time.time() else None

    def refresh(self, refresh_token: str) -> Login:
        """The next tokens of the family. Reuse revokes it. Raises RefusedError."""
        family = self._families.get(refresh_token)
        if family is None:
            raise faults.RefusedError(_refused("refresh_token_invalidated", "Your refresh token is not valid."))
        if refresh_token != family.current:
            family.is_revoked = True
            text = (
                "Your refresh token has already been used to generate a new access token. Please try signing in again."
            )
            raise faults.RefusedError(_refused("refresh_token_reused", text))
        if family.is_revoked:
            raise faults.RefusedError(
                _refused("refresh_token_invalidated", "Your session has ended. Please log in again.")
            )
        return self._issue(family.account, family)

    def holder_of(self, refresh_token: str) -> Account | None:
        """Whose refresh token this is or was."""
        family = self._families.get(refresh_token)
        return family.account if family else None

    def authorize(self, account: Account, *, challenge: str, redirect_uri: str) -> str:
        """A code for the account, good for one exchange."""
        code = f"ac_{secrets.token_urlsafe(24)}"
        self._codes[code] = Code(account, challenge, redirect_uri)
        return code

    def holder_of_code(self, code: str) -> Account | None:
        """Whose code this is, until it is exchanged."""
        held = self._codes.get(code)
        return held.account if held else None

    def expire_codes(self) -> None:
        """Every code that was not exchanged yet is too old."""
        self._codes.clear()

    def exchange(self, code: str, *, verifier: str, redirect_uri: str) -> Login:
        """A code for a new family. Raises RefusedError."""
        held = self._codes.pop(code, None)
        if held is None or held.challenge != challenge_of(verifier) or held.redirect_uri != redirect_uri:
            raise faults.RefusedError(_refused("invalid_grant", "The authorization code is not valid.", status=400))
        return self._issue(held.account, None)

    def begin_device(self) -> Device:
        """A device asks for a user code."""
        device = Device(f"deviceauth_{secrets.token_hex(12)}", f"{secrets.token_hex(2)}-{secrets.token_hex(2)}".upper())
        self._devices[device.device_auth_id] = device
        return device

    def approve_device(self, user_code: str, account: Account) -> None:
        """Somebody typed the user code. Raises KeyError."""
        waiting = {device.user_code: device for device in self._devices.values()}
        waiting[user_code].account = account

    def device(self, device_auth_id: str, user_code: str) -> Device | None:
        """The device of this id, if it also knows its user code."""
        device = self._devices.get(device_auth_id)
        return device if device and device.user_code == user_code else None

    def expire_access(self, account: Account) -> int:
        """Every access token of the account stops working; returns how many did."""
        dead = [token for token, held in self._access.items() if held.account is account]
        for token in dead:
            del self._access[token]
        return len(dead)

    def revoke(self, account: Account) -> None:
        """Every family of the account ends, as when its owner signs out everywhere."""
        self.expire_access(account)
        for family in self._families.values():
            if family.account is account:
                family.is_revoked = True

    def clear(self) -> None:
        """Forgets every token."""
        self._access.clear()
        self._families.clear()
        self._codes.clear()
        self._devices.clear()

    def _issue(self, account: Account, family: _Family | None) -> Login:
        now = int(time.time())
        access_token = _jwt(_access_claims(account, now))
        refresh_token = f"rt_{secrets.token_urlsafe(32)}"
        family = family or _Family(account, refresh_token)
        family.current = refresh_token
        self._families[refresh_token] = family
        self._access[access_token] = _Access(account, now + account.access_ttl_s)
        id_token = _jwt(_id_claims(account, now))
        return Login(
            name=account.name,
            account_id=account.account_id,
            user_id=account.user_id,
            email=account.email,
            plan=account.plan,
            id_token=id_token,
            access_token=access_token,
            refresh_token=refresh_token,
            auth_json={
                "OPENAI_API_KEY": None,
                "tokens": {
                    "id_token": id_token,
                    "access_token": access_token,
                    "refresh_token": refresh_token,
                    "account_id": account.account_id,
                },
                "last_refresh": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            },
        )


def challenge_of(verifier: str) -> str:
    """The S256 challenge of PKCE."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _refused(code: str, text: str, *, status: int = 401) -> faults.Fault:
    return faults.error(status, text, code)


def _jwt(claims: JsonObject) -> str:
    parts = [msgspec.json.encode(_HEADER), msgspec.json.encode(claims), secrets.token_bytes(32)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def _auth_claims(account: Account) -> JsonObject:
    return {
        "chatgpt_account_id": account.account_id,
        "chatgpt_account_user_id": f"{account.user_id}__{account.account_id}",
        "chatgpt_compute_residency": "no_constraint",
        "chatgpt_plan_type": account.plan,
        "chatgpt_user_id": account.user_id,
        "user_id": account.user_id,
    }


def _access_claims(account: Account, now: int) -> JsonObject:
    return {
        "aud": ["https://api.openai.com/v1"],
        "client_id": CLIENT_ID,
        "exp": int(now + account.access_ttl_s),
        "https://api.openai.com/auth": _auth_claims(account),
        "https://api.openai.com/profile": {"email": account.email, "email_verified": True},
        "iat": now,
        "iss": "https://auth.openai.com",
        "jti": secrets.token_hex(16),
        "nbf": now,
        "scp": ["openid", "profile", "email", "offline_access"],
        "sub": f"auth0|{account.user_id}",
    }


def _id_claims(account: Account, now: int) -> JsonObject:
    organizations = [{"id": f"org-{account.name}", "is_default": True, "role": "owner", "title": "Personal"}]
    return {
        "aud": [CLIENT_ID],
        "email": account.email,
        "email_verified": True,
        "exp": now + _ID_TTL_S,
        "https://api.openai.com/auth": {**_auth_claims(account), "groups": [], "organizations": organizations},
        "iat": now,
        "iss": "https://auth.openai.com",
        "sid": secrets.token_hex(16),
        "sub": f"auth0|{account.user_id}",
    }
