"""Logins made up for tests: tokens that look like the issuer's, and the auth.json that the Codex CLI would write."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

FAR_AWAY = datetime(2100, 1, 1, tzinfo=UTC)


def jwt(claims: Mapping[str, object]) -> str:
    """A token with these claims and a signature that nobody checks."""
    return ".".join(_base64(part) for part in (b'{"alg":"RS256"}', json.dumps(claims).encode(), b"signature"))


def id_token(user: str, *, workspace: str = "ws-1", plan: str = "plus", **more: object) -> str:
    """An identity token as the issuer writes it."""
    auth = {"chatgpt_account_id": workspace, "chatgpt_user_id": f"user-{user}", "chatgpt_plan_type": plan}
    claims = {"iss": "https://auth.openai.com", "sub": f"auth0|{user}", "email": f"{user}@example.test"}
    return jwt({**claims, "https://api.openai.com/auth": auth, **more})


def access_token(user: str, *, expires_at: datetime = FAR_AWAY) -> str:
    """An access token."""
    return jwt({"iss": "https://auth.openai.com", "sub": f"auth0|{user}", "exp": int(expires_at.timestamp())})


def auth_file(user: str, *, workspace: str = "ws-1", plan: str = "plus", issued: int = 0) -> bytes:
    """The auth.json of a user's login number `issued`; higher numbers are newer."""
    expires_at = FAR_AWAY + timedelta(days=issued)
    tokens = {
        "id_token": id_token(user, workspace=workspace, plan=plan),
        "access_token": access_token(user, expires_at=expires_at),
        "refresh_token": f"rt_{user}_{issued}",
        "account_id": workspace,
    }
    return json.dumps({"OPENAI_API_KEY": None, "tokens": tokens, "last_refresh": "2026-05-04T12:00:00Z"}).encode()


def _base64(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()
