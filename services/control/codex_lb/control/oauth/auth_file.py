"""Reads the `auth.json` that the Codex CLI writes, and writes it. Pure; no error ever repeats what stands in the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from codex_lb.control.domain.account import Account, Credential, Login
from codex_lb.control.errors import InvalidAuthFileError
from codex_lb.control.oauth.claims import UnreadableTokenError, read_claims

FILE_BYTES_MAX = 2**20  # a real one has 5 KB
TOKEN_CHARS_MAX = 16 * 2**10  # upstream takes no longer header

# Every name under which a field may stand; other tools write the second one.
TOKENS = ("tokens",)
ID_TOKEN = ("id_token", "idToken")
ACCESS_TOKEN = ("access_token", "accessToken")
REFRESH_TOKEN = ("refresh_token", "refreshToken")
ACCOUNT_ID = ("account_id", "accountId")
LAST_REFRESH = ("last_refresh", "lastRefresh", "last_refresh_at", "lastRefreshAt")
API_KEY = ("OPENAI_API_KEY", "openaiApiKey")


def read_auth_file(content: bytes) -> Login:
    """The login in the file. Raises InvalidAuthFileError with a sentence that names the field."""
    document = _document(content)
    tokens = _tokens(document)
    id_token = _token(tokens, ID_TOKEN)
    access_token = _token(tokens, ACCESS_TOKEN)
    refresh_token = _token(tokens, REFRESH_TOKEN)
    account_id = _get(tokens, ACCOUNT_ID)
    if account_id is not None and not is_token(account_id):
        raise InvalidAuthFileError("tokens.account_id is not an id")
    try:
        return login_of(
            id_token,
            access_token,
            refresh_token,
            chatgpt_account_id=str(account_id or ""),
            refreshed_at=_instant(_get(document, LAST_REFRESH)),
        )
    except UnreadableTokenError as error:
        raise InvalidAuthFileError(f"tokens.id_token {error}") from None


def write_auth_file(account: Account, credential: Credential) -> bytes:
    """The file of an account's login, as the Codex CLI writes it."""
    refreshed_at = account.refreshed_at or account.updated_at
    document = {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {
            "id_token": credential.id_token,
            "access_token": credential.access_token,
            "refresh_token": credential.refresh_token,
            "account_id": account.chatgpt_account_id or None,
        },
        "last_refresh": refreshed_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def login_of(
    id_token: str, access_token: str, refresh_token: str, *, chatgpt_account_id: str = "", refreshed_at: datetime | None
) -> Login:
    """Whose login three tokens are. Raises UnreadableTokenError."""
    claims = read_claims(id_token, access_token, chatgpt_account_id=chatgpt_account_id)
    if claims.chatgpt_account_id and not is_token(claims.chatgpt_account_id):
        raise UnreadableTokenError("names an account id that is not an id")
    return Login(
        identity=claims.identity,
        email=claims.email,
        plan=claims.plan,
        chatgpt_account_id=claims.chatgpt_account_id,
        credential=Credential(access_token, refresh_token, id_token, claims.access_expires_at),
        refreshed_at=refreshed_at,
    )


def is_token(value: object) -> bool:
    """Whether it may stand in a header: visible ASCII and nothing else."""
    return isinstance(value, str) and len(value) <= TOKEN_CHARS_MAX and all("!" <= c <= "~" for c in value)


def _document(content: bytes) -> Mapping[str, object]:
    if len(content) > FILE_BYTES_MAX:
        raise InvalidAuthFileError(f"the file is larger than {FILE_BYTES_MAX} bytes")
    if not content.strip():
        raise InvalidAuthFileError("the file is empty")
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InvalidAuthFileError("the file is not text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidAuthFileError(f"the file is not JSON (line {error.lineno}, column {error.colno})") from None
    except (RecursionError, ValueError):  # nested or numbered beyond what Python reads
        raise InvalidAuthFileError("the file is JSON of a kind that no auth.json is") from None
    if not isinstance(document, dict):
        raise InvalidAuthFileError("the file is JSON, but not an object")
    return document


def _tokens(document: Mapping[str, object]) -> Mapping[str, object]:
    tokens = _get(document, TOKENS)
    if tokens is None and _get(document, API_KEY):
        raise InvalidAuthFileError(
            "tokens is missing: the file holds an API key, not a ChatGPT login. Sign in with: codex login"
        )
    if tokens is None:
        raise InvalidAuthFileError("tokens is missing")
    if not isinstance(tokens, dict):
        raise InvalidAuthFileError("tokens is not an object")
    return tokens


def _token(tokens: Mapping[str, object], names: tuple[str, ...]) -> str:
    value = _get(tokens, names)
    field = f"tokens.{names[0]}"
    if value is None or value == "":
        raise InvalidAuthFileError(f"{field} is missing")
    if not isinstance(value, str):
        raise InvalidAuthFileError(f"{field} is not a string")
    if len(value) > TOKEN_CHARS_MAX:
        raise InvalidAuthFileError(f"{field} is longer than {TOKEN_CHARS_MAX} characters")
    if not is_token(value):
        raise InvalidAuthFileError(f"{field} holds characters that no token has")
    return value


def _get(mapping: Mapping[str, object], names: tuple[str, ...]) -> object:
    return next((mapping[name] for name in names if mapping.get(name) is not None), None)


def _instant(value: object) -> datetime | None:
    """When the tokens were issued; a file may leave it out or write it in any way, so nothing hangs on it."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
