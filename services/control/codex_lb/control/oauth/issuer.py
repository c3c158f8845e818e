"""The issuer of logins over HTTP: the page for browsers, codes for devices, and the exchange of either for a login.

Bodies that go there or come back hold codes and tokens: no error repeats anything of them but the issuer's own code.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import urlencode

import anyio
import httpx
import msgspec

from codex_lb.control.domain.account import Login
from codex_lb.control.domain.enrolment import FLOW_TTL_S, POLL_PERIOD_S, POLL_PERIOD_S_MAX
from codex_lb.control.errors import IssuerRefusedError, IssuerUnavailableError
from codex_lb.control.oauth.auth_file import is_token, login_of
from codex_lb.control.oauth.claims import UnreadableTokenError
from codex_lb.control.oauth.pkce import challenge_of
from codex_lb.control.usecases.sign_in_ports import DeviceCode, NotYet
from codex_lb.kit.clock import Clock

ORIGINATOR = "codex_chatgpt_desktop"
OFFLINE = "offline_access"  # without it the issuer gives no refresh token
BODY_BYTES_MAX = 256 * 2**10  # three tokens of a few KiB each
POLL_PERIOD_S_MIN = 1.0

PENDING = frozenset({"authorization_pending", "deviceauth_authorization_unknown", "pending"})
SPENT = frozenset({"invalid_grant", "expired_code", "code_expired", "invalid_code"})
DECLINED = frozenset({"access_denied", "authorization_denied", "authorization_declined"})
EXPIRED = frozenset({"expired_token", "deviceauth_expired"})
SHOWN = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")  # a code of the issuer's that may stand in a sentence

Wanted = TypeVar("Wanted", bound=msgspec.Struct)


@asynccontextmanager
async def open_issuer(
    clock: Clock, *, base_url: str, client_id: str, scope: str, redirect_uri: str, timeout_s: float
) -> AsyncIterator[HttpIssuer]:
    """The issuer, with a client of its own."""
    async with httpx.AsyncClient(timeout=timeout_s, follow_redirects=False) as http:
        yield HttpIssuer(
            http,
            clock,
            base_url=base_url.rstrip("/"),
            client_id=client_id,
            scope=scope,
            redirect_uri=redirect_uri,
            timeout_s=timeout_s,
        )


class HttpIssuer:
    """The Issuer port."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        clock: Clock,
        *,
        base_url: str,
        client_id: str,
        scope: str,
        redirect_uri: str,
        timeout_s: float,
    ) -> None:
        self._http = http
        self._clock = clock
        self._base_url = base_url
        self._client_id = client_id
        self._scope = scope
        self._redirect_uri = redirect_uri
        self._timeout_s = timeout_s

    @property
    def redirect_uri(self) -> str:
        """Where browsers are sent."""
        return self._redirect_uri

    def authorization_url(self, *, state: str, verifier: str) -> str:
        """The page, with everything that the Codex CLI asks it for."""
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": _with_offline(self._scope),
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
            "state": state,
            "id_token_add_organizations": "true",
            "codex_cli_simplified_flow": "true",
            "originator": ORIGINATOR,
        }
        return f"{self._base_url}/oauth/authorize?{urlencode(query)}"

    async def exchange(self, code: str, *, verifier: str, redirect_uri: str) -> Login:
        """Sent once: the code is spent then, whatever comes back."""
        form = {
            "grant_type": "authorization_code",
            "client_id": self._client_id,
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": redirect_uri,
        }
        status, body = await self._post("/oauth/token", data=form)
        if not _is_success(status):
            raise _refusal(status, body)
        return self._login(body)

    async def begin_device(self) -> DeviceCode:
        """Asks for a code."""
        status, body = await self._post("/api/accounts/deviceauth/usercode", json={"client_id": self._client_id})
        if status == 404:
            raise IssuerRefusedError(
                "The issuer offers no sign-in by device code here (device_auth_unavailable). Sign in with the browser."
            )
        if not _is_success(status):
            raise _refusal(status, body)
        given = _read(body, _UserCode)
        user_code = given.user_code or given.usercode
        if not (is_token(given.device_auth_id) and is_token(user_code) and given.device_auth_id and user_code):
            raise _unreadable()
        return DeviceCode(
            device_auth_id=given.device_auth_id,
            user_code=user_code,
            verification_url=f"{self._base_url}/codex/device",
            poll_period_s=min(max(_seconds(given.interval) or POLL_PERIOD_S, POLL_PERIOD_S_MIN), POLL_PERIOD_S_MAX),
            ttl_s=self._ttl_s(given),
        )

    async def poll_device(self, device_auth_id: str, user_code: str) -> Login | NotYet:
        """Once typed, the answer is a login, or a code for one."""
        status, body = await self._post(
            "/api/accounts/deviceauth/token", json={"device_auth_id": device_auth_id, "user_code": user_code}
        )
        code = _code_of(body)
        if code == "slow_down":
            return NotYet(slow_down=True)
        if code in DECLINED | EXPIRED or not (_is_success(status) or status in (403, 404) or code in PENDING):
            raise _refusal(status, body)
        if not _is_success(status) or code in PENDING:
            return NotYet()
        given = _read(body, _DeviceAnswer)
        if given.status in PENDING:
            return NotYet()
        if given.authorization_code:
            return await self.exchange(
                given.authorization_code,
                verifier=given.code_verifier,
                redirect_uri=f"{self._base_url}/deviceauth/callback",
            )
        return self._login(body)

    async def _post(
        self, path: str, *, json: Mapping[str, str] | None = None, data: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        request = self._http.build_request(
            "POST", f"{self._base_url}{path}", headers={"accept": "application/json"}, json=json, data=data
        )
        try:
            with anyio.fail_after(self._timeout_s):
                response = await self._http.send(request, stream=True)
                try:
                    return response.status_code, await _bounded(response)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException):
            raise IssuerUnavailableError(f"The issuer did not answer within {self._timeout_s:g} s.") from None
        except httpx.HTTPError as error:  # named by its type: its text may quote what was sent
            raise IssuerUnavailableError(f"The issuer could not be reached ({type(error).__name__}).") from None

    def _login(self, body: bytes) -> Login:
        given = _read(body, _Tokens)
        for name, token in (("id_token", given.id_token), ("access_token", given.access_token)):
            if not (token and is_token(token)):
                raise IssuerRefusedError(f"The issuer's answer has no {name} that can be used.")
        if not (given.refresh_token and is_token(given.refresh_token)):
            raise IssuerRefusedError("The issuer's answer has no refresh_token: the login would end within days.")
        try:
            return login_of(given.id_token, given.access_token, given.refresh_token, refreshed_at=self._clock.now())
        except UnreadableTokenError as error:
            raise IssuerRefusedError(f"The issuer's id_token {error}.") from None

    def _ttl_s(self, given: _UserCode) -> float:
        if (ttl_s := _seconds(given.expires_in)) is not None:
            return ttl_s
        if isinstance(given.expires_at, str):
            try:
                ends_at = datetime.fromisoformat(given.expires_at)
            except ValueError:
                return FLOW_TTL_S
            return ((ends_at if ends_at.tzinfo else ends_at.replace(tzinfo=UTC)) - self._clock.now()).total_seconds()
        ends_at_s = _seconds(given.expires_at)
        return FLOW_TTL_S if ends_at_s is None else ends_at_s - self._clock.now().timestamp()


class _UserCode(msgspec.Struct):
    device_auth_id: str = ""
    user_code: str = ""
    usercode: str = ""
    interval: str | float | None = None
    expires_in: str | float | None = None
    expires_at: str | float | None = None


class _DeviceAnswer(msgspec.Struct):
    status: str = ""
    authorization_code: str = ""
    code_verifier: str = ""


class _Tokens(msgspec.Struct):
    id_token: str = ""
    access_token: str = ""
    refresh_token: str = ""


def _read(body: bytes, wanted: type[Wanted]) -> Wanted:
    try:
        return msgspec.json.decode(body, type=wanted)
    except (msgspec.DecodeError, RecursionError):
        raise _unreadable() from None  # the cause would quote it


def _refusal(status: int, body: bytes) -> IssuerRefusedError | IssuerUnavailableError:
    code = _code_of(body)
    shown = code if SHOWN.match(code) else f"http_{status}"
    if code in SPENT:
        return IssuerRefusedError(f"The issuer does not take the code ({shown}): it was used before, or is too old.")
    if code in DECLINED:
        return IssuerRefusedError(f"The sign-in was declined on the issuer's page ({shown}).")
    if code in EXPIRED:
        return IssuerRefusedError(f"The code was not typed in time ({shown}).")
    if status >= 500 or status in (408, 429):
        return IssuerUnavailableError(f"The issuer answered with an error of its own (status {status}, {shown}).")
    return IssuerRefusedError(f"The issuer refused (status {status}, {shown}).")


def _code_of(body: bytes) -> str:
    """The issuer's own word for what is wrong: error.code, error.error, error, error_code or code."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    error = document.get("error")
    if isinstance(error, dict):
        places = [error.get("code"), error.get("error")]
    else:
        places = [error, document.get("error_code"), document.get("code")]
    return next((place for place in places if isinstance(place, str) and place), "")


async def _bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > BODY_BYTES_MAX:
            raise _unreadable()
    return bytes(body)


def _unreadable() -> IssuerUnavailableError:
    return IssuerUnavailableError("The issuer's answer cannot be read.")


def _is_success(status: int) -> bool:
    return 200 <= status < 300


def _seconds(value: str | float | None) -> float | None:
    try:
        seconds = float(value) if value is not None else -1.0
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None


def _with_offline(scope: str) -> str:
    words = scope.split()
    return " ".join(words if OFFLINE in words else [*words, OFFLINE])
