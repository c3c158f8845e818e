"""Signing in and out with a browser.

A link has its token behind a #, so that no server, proxy or log on the way sees it; the page it leads to sends the token
here. What comes back is a cookie that no script can read, and a word that pages send along with whatever changes something.
"""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from codex_lb.control.domain.web_access import SESSION_MAX, WebSecret
from codex_lb.control.errors import SignInRefusedError, WebSessionNotFoundError
from codex_lb.control.rpcs.failures import told_as_failures
from codex_lb.control.usecases.web_access import WebAccess
from codex_lb.control.web.body import check_json, read_body
from codex_lb.control.web.connect_wire import invalid
from codex_lb.control.web.doorman import COOKIE, SECRET_CHARS_MAX, Doorman, secret_of
from codex_lb.control.web.refusals import answered
from codex_lb.control.web.visitors import Automation, Local, SignedIn, Stranger, Visitor, csrf_of

BODY_BYTES_MAX = 4 * 2**10
PATH = "/auth/sign-in"

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Given(msgspec.Struct):
    """What the page sends."""

    token: str


class SignIn:
    """The endpoints below /auth."""

    def __init__(self, access: WebAccess, doorman: Doorman) -> None:
        self._access = access
        self._doorman = doorman

    async def enter(self, request: Request) -> Response:
        """Lets somebody in who has the token of a link."""
        return await answered(request, self._enter(request))

    async def leave(self, request: Request) -> Response:
        """Ends the session, at every control."""
        return await answered(request, self._leave(request))

    async def tell(self, request: Request) -> Response:
        """Who is asking, and what their pages must send along."""
        return await answered(request, self._tell(request))

    async def _enter(self, request: Request) -> Response:
        check_json(request)
        self._doorman.check_page(request, Stranger())
        given = _given(await read_body(request, bytes_max=BODY_BYTES_MAX))
        address = str(self._doorman.address_of(request.scope))
        with told_as_failures():
            try:
                with self._doorman.attempt(request):
                    session, secret = await self._access.sign_in(
                        given,
                        address=address,
                        user_agent=request.headers.get("user-agent", ""),
                        before=secret_of(request),
                    )
            except SignInRefusedError:
                log.warning("a sign-in was refused", address=address)
                raise
        answer = JSONResponse(_told(SignedIn(session, secret)))
        answer.set_cookie(
            COOKIE,
            secret.text,
            max_age=int(SESSION_MAX.total_seconds()),
            secure=self._doorman.is_https(request),
            httponly=True,
            samesite="lax",  # strict would show somebody who follows a link to us as signed out
        )
        return answer

    async def _leave(self, request: Request) -> Response:
        visitor = await self._doorman.visitor(request)
        self._doorman.check_page(request, visitor)
        if isinstance(visitor, SignedIn):
            with told_as_failures(), suppress(WebSessionNotFoundError):
                await self._access.end(visitor.session.session_id)
        answer = JSONResponse({})
        answer.delete_cookie(COOKIE, secure=self._doorman.is_https(request), httponly=True, samesite="lax")
        return answer

    async def _tell(self, request: Request) -> Response:
        return JSONResponse(_told(await self._doorman.visitor(request)))


def link_of(base_url: str, secret: WebSecret) -> str:
    """The link that carries a token."""
    return f"{base_url.rstrip('/')}{PATH}#token={quote(secret.text, safe='')}"


def _given(body: bytes) -> WebSecret:
    """The token that was sent. Raises RpcFailure."""
    try:
        token = msgspec.json.decode(body, type=Given).token.strip()
    except (msgspec.DecodeError, UnicodeDecodeError):
        token = ""
    if not 0 < len(token) <= SECRET_CHARS_MAX:
        raise invalid('The body must be JSON with a "token".')
    return WebSecret(token)


def _told(visitor: Visitor) -> dict[str, str]:
    """A visitor, as pages are told."""
    match visitor:
        case SignedIn(session=session):
            told = {"visitor": "signed_in", "expiresAt": session.expires_at.isoformat()}
        case Local():
            told = {"visitor": "local"}
        case Automation():
            told = {"visitor": "automation"}
        case Stranger():
            told = {"visitor": "stranger"}
    return told | {"csrf": csrf_of(visitor)}
