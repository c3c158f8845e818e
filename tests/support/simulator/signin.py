"""The issuer's HTTP face: /oauth/token, a consent page that consents by itself, and sign-in from a device."""

import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlencode

import msgspec
from aiohttp import web

from tests.support.simulator import faults
from tests.support.simulator.accounts import Account, Accounts
from tests.support.simulator.bodies import decode
from tests.support.simulator.journal import Journal, Recording
from tests.support.simulator.oauth import CLIENT_ID, Issuer, challenge_of
from tests.support.simulator.prompts import JsonObject
from tests.support.simulator.reception import Reception
from tests.support.simulator.record import Login

_DEVICE_TTL_S: Final = 900
_FORM: Final = "application/x-www-form-urlencoded"


class SignIn:
    """Tokens for refresh tokens and for codes."""

    def __init__(self, reception: Reception, issuer: Issuer, accounts: Accounts, journal: Journal) -> None:
        self._reception = reception
        self._issuer = issuer
        self._accounts = accounts
        self._journal = journal
        self.next_login: str | None = None  # who is at the browser when the consent page opens
        self.consents = True  # and whether they do

    async def token(self, request: web.Request, recording: Recording) -> web.StreamResponse:
        """POST /oauth/token: a refresh grant in JSON or a code grant as a form."""
        body = await self._reception.body(request, recording)
        is_form = request.content_type == _FORM
        given: Mapping[str, object] = dict(parse_qsl(body.decode())) if is_form else decode(body)
        if is_form:
            recording.body = msgspec.json.encode(given)
        if given.get("client_id") != CLIENT_ID:
            raise faults.RefusedError(faults.error(400, "Unknown client.", "invalid_client"))
        match given.get("grant_type"):
            case "refresh_token":
                login = await self._refresh(str(given.get("refresh_token")), recording)
            case "authorization_code":
                code = str(given.get("code"))
                holder = self._issuer.holder_of_code(code)
                await self._reception.play(self._reception.step(recording, holder), holder)
                login = self._issuer.exchange(
                    code,
                    verifier=str(given.get("code_verifier")),
                    redirect_uri=str(given.get("redirect_uri")),
                )
                recording.account = login.name
            case other:
                raise faults.RefusedError(faults.error(400, f"Unsupported grant {other}.", "unsupported_grant_type"))
        return self._answer(login, recording)

    async def authorize(self, request: web.Request, recording: Recording) -> web.StreamResponse:
        """GET /oauth/authorize: the account at the browser consents at once, or declines."""
        query = request.query
        account = self._at_the_browser()
        if account is None or query.get("code_challenge_method") != "S256" or query.get("response_type") != "code":
            raise faults.RefusedError(faults.error(400, "Nobody can sign in with this request.", "invalid_request"))
        recording.account = account.name
        redirect_uri = query.get("redirect_uri", "")
        if not self.consents:
            declined = urlencode({"error": "access_denied", "state": query.get("state", "")})
            return web.Response(status=302, headers={"location": f"{redirect_uri}?{declined}"})
        code = self._issuer.authorize(account, challenge=query.get("code_challenge", ""), redirect_uri=redirect_uri)
        answer = urlencode({"code": code, "scope": query.get("scope", ""), "state": query.get("state", "")})
        return web.Response(status=302, headers={"location": f"{redirect_uri}?{answer}"})

    async def device_code(self, request: web.Request, recording: Recording) -> web.StreamResponse:
        """POST /api/accounts/deviceauth/usercode: a code for a person to type."""
        given = decode(await self._reception.body(request, recording))
        if given.get("client_id") != CLIENT_ID:
            raise faults.RefusedError(faults.error(400, "Unknown client.", "invalid_client"))
        await self._reception.play(self._reception.step(recording, None), None)
        device = self._issuer.begin_device()
        return _json(
            recording,
            {
                "device_auth_id": device.device_auth_id,
                "user_code": device.user_code,
                "interval": "1",
                "expires_in": _DEVICE_TTL_S,
            },
        )

    async def device_token(self, request: web.Request, recording: Recording) -> web.StreamResponse:
        """POST /api/accounts/deviceauth/token: 403 until somebody typed the code, then a code to exchange."""
        given = decode(await self._reception.body(request, recording))
        await self._reception.play(self._reception.step(recording, None), None)
        device = self._issuer.device(str(given.get("device_auth_id")), str(given.get("user_code")))
        if device is None or device.account is None:
            code = "deviceauth_authorization_unknown" if device else "deviceauth_not_found"
            raise faults.RefusedError(faults.error(403 if device else 404, "Device authorization is unknown.", code))
        recording.account = device.account.name
        verifier = secrets.token_urlsafe(32)
        challenge = challenge_of(verifier)
        redirect_uri = f"{request.scheme}://{request.host}/deviceauth/callback"
        code = self._issuer.authorize(device.account, challenge=challenge, redirect_uri=redirect_uri)
        return _json(recording, {"authorization_code": code, "code_challenge": challenge, "code_verifier": verifier})

    def _at_the_browser(self) -> Account | None:
        named = [account for account in self._accounts if self.next_login in (None, account.name)]
        return named[-1] if named else None

    async def _refresh(self, refresh_token: str, recording: Recording) -> Login:
        holder = self._issuer.holder_of(refresh_token)
        name = holder.name if holder else None
        recording.account = name
        try:
            await self._reception.play(self._reception.step(recording, holder), holder)
            login = self._issuer.refresh(refresh_token)
        except faults.RefusedError as refused:
            if name is not None:
                self._journal.count(name, exchanges_refused=1)
            if refused.fault.error.get("code") == "refresh_token_reused":
                recording.violates("refresh_token_reused", "a refresh token is good for one exchange")
            raise
        self._journal.count(login.name, exchanges=1)
        return login

    def _answer(self, login: Login, recording: Recording) -> web.Response:
        held = self._accounts.get(login.name)
        return _json(
            recording,
            {
                "access_token": login.access_token,
                "expires_in": int(held.access_ttl_s),
                "id_token": login.id_token,
                "refresh_token": login.refresh_token,
                "scope": "openid profile email offline_access",
                "token_type": "Bearer",
            },
        )


def _json(recording: Recording, value: JsonObject) -> web.Response:
    body = msgspec.json.encode(value)
    recording.sent(body)
    return web.Response(body=body, headers={"content-type": "application/json", "cache-control": "no-store"})
