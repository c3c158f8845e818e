"""Looks at who comes in over HTTP: tells visitors apart, slows guessing down, and refuses what another site's page sent.

A browser carries what it is let in by to every request, whichever page caused it: a cookie, or simply running on this
machine. So whatever changes something must also carry a header that no other site can make a browser send.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import Scope

from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.control.domain.web_access import WebSecret
from codex_lb.control.errors import SignInRefusedError
from codex_lb.control.rpcs.failures import told_as_failures
from codex_lb.control.settings import ControlSettings
from codex_lb.control.usecases.web_access import WebAccess
from codex_lb.control.web.origin import is_own_origin
from codex_lb.control.web.visitors import Automation, Local, SignedIn, Stranger, Visitor, csrf_of
from codex_lb.kit.client_ip import Address, Caller, caller_of, is_in
from codex_lb.kit.clock import Clock
from codex_lb.kit.failed_attempts import FailedAttempts
from codex_lb.kit.rpc_errors import RpcFailure

PEER = b"x-codex-lb-peer"  # what an edge of ours, which comes by the unix socket, says of the visitor's connection
CSRF = "x-codex-lb-csrf"
COOKIE = "codex_lb_session"
ATTEMPTS_MAX = 10  # wrong secrets of one address in a minute
SECRET_CHARS_MAX = 512
LOOPBACK = "127.0.0.1"


class Doorman:
    """Asked by everything that HTTP serves."""

    def __init__(self, settings: ControlSettings, access: WebAccess, clock: Clock) -> None:
        token = settings.service_token.get_secret_value() if settings.service_token else ""
        self._service_token = token.encode()
        self._own_host = urlsplit(settings.dashboard_url).netloc if settings.dashboard_url else ""
        self._settings = settings
        self._access = access
        self._clock = clock
        self._failed = FailedAttempts(attempts_max=ATTEMPTS_MAX)

    async def visitor(self, request: Request) -> Visitor:
        """Who it is. Raises RpcFailure for a service token that is wrong, and while the database is away."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":  # other schemes are a proxy's in front of us
            self._check_token(request.scope, token.strip())
            return Automation()
        secret = secret_of(request)
        if secret is not None:
            with told_as_failures():
                session = await self._access.session_of(secret)
            if session is not None:
                return SignedIn(session, secret)
        return Local() if self._is_local(request.scope) else Stranger()

    def check_page(self, request: Request, visitor: Visitor) -> None:
        """Raises RpcFailure when it may have been another site's page that made a browser send this."""
        if isinstance(visitor, Automation):
            return  # no browser carries a token by itself
        origin = request.headers.get("origin")
        if origin is not None and not is_own_origin(origin, self._hosts(request)):
            raise _foreign(
                f"The call comes from a page of {origin[:200]}, not from one of this address. Behind a proxy, pass on"
                " the Host header as the browser sent it, or set CODEX_LB_DASHBOARD_URL."
            )
        expected = csrf_of(visitor)
        if not hmac.compare_digest(request.headers.get(CSRF, "").encode(), expected.encode()):
            what = "that GET /auth/session tells" if isinstance(visitor, SignedIn) else expected
            raise _foreign(f"The header {CSRF} is missing or wrong. Send {CSRF}: {what}")

    @contextmanager
    def attempt(self, request: Request) -> Iterator[None]:
        """Around the look at a secret: it counts as wrong from its beginning, so that many at once are not looked at in
        one go, and until it has turned out that it was right, or could not be looked at. Raises RpcFailure.
        """
        address = self.address_of(request.scope)
        self._check_attempts(address)
        self._failed.failed(address, now_s=self._clock.monotonic())
        try:
            yield
        except SignInRefusedError:
            raise
        except BaseException:
            self._failed.forgive(address)
            raise
        self._failed.forgive(address)

    def is_https(self, request: Request) -> bool:
        """Whether the visitor's browser came by https, as far as it can be known: pages say it in their Origin."""
        if request.headers.get("origin", "").lower().startswith("https:") or request.scope["scheme"] == "https":
            return True
        return self._is_behind_trusted(request.scope) and request.headers.get("x-forwarded-proto", "") == "https"

    def address_of(self, scope: Scope) -> Address | None:
        """Where a visitor comes from, as far as it can be known."""
        caller, _ = self._caller(scope)
        return caller.client or caller.peer

    def _check_attempts(self, address: Address | None) -> None:
        wait_s = self._failed.wait_s(address, now_s=self._clock.monotonic())
        if wait_s > 0:
            raise RpcFailure(
                reasons_pb2.ERROR_REASON_TOO_MANY_ATTEMPTS,
                f"Too many wrong tries came from your address. Wait {wait_s:.0f} seconds.",
                retry_after_s=wait_s,
            )

    def _check_token(self, scope: Scope, token: str) -> None:
        address = self.address_of(scope)
        self._check_attempts(address)
        if not (self._service_token and hmac.compare_digest(token.encode(), self._service_token)):
            self._failed.failed(address, now_s=self._clock.monotonic())
            raise RpcFailure(
                reasons_pb2.ERROR_REASON_SERVICE_TOKEN_INVALID, "The service token is missing or is not ours."
            )

    def _is_local(self, scope: Scope) -> bool:
        caller, http_version = self._caller(scope)
        # A proxy that adds no headers looks like a program of this machine. Most of those ask in HTTP/1.0.
        return self._settings.dashboard_local_access and caller.is_local and http_version != "1.0"

    def _is_behind_trusted(self, scope: Scope) -> bool:
        caller, _ = self._caller(scope)
        return self._settings.firewall_trust_proxy_headers and is_in(
            caller.peer, self._settings.firewall_trusted_proxy_cidrs
        )

    def _caller(self, scope: Scope) -> tuple[Caller, str]:
        peer, http_version = peer_of(scope)
        caller = caller_of(
            peer,
            scope["headers"],
            trust_headers=self._settings.firewall_trust_proxy_headers,
            trusted_proxies=self._settings.firewall_trusted_proxy_cidrs,
        )
        return caller, http_version

    def _hosts(self, request: Request) -> list[str]:
        """Under which names the visitor's browser may know us."""
        forwarded = request.headers.get("x-forwarded-host", "") if self._is_behind_trusted(request.scope) else ""
        return [request.headers.get("host", ""), forwarded, self._own_host]


def secret_of(request: Request) -> WebSecret | None:
    """What the cookie of a web session carries."""
    text = request.cookies.get(COOKIE, "")
    return WebSecret(text) if 0 < len(text) <= SECRET_CHARS_MAX else None


def peer_of(scope: Scope) -> tuple[str, str]:
    """The other end of the visitor's connection, and the HTTP version it speaks."""
    client = scope.get("client")
    if client is not None:
        return client[0], scope["http_version"]
    # A unix socket, which only our own user can reach: an edge of ours says for whom it asks.
    told = next((value for name, value in scope["headers"] if name == PEER), b"").decode("latin-1").split()
    return (told[0], told[1]) if len(told) == 2 else (LOOPBACK, scope["http_version"])


def _foreign(message: str) -> RpcFailure:
    return RpcFailure(reasons_pb2.ERROR_REASON_FOREIGN_ORIGIN, message)
