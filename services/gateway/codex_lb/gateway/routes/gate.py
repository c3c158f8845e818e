"""What every client route does first: who calls, may it, which headers its answer carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from starlette.types import Scope

from codex_lb.gateway.errors import ControlUnavailableError, ForbiddenError, TooManyFailuresError, WrongKeyError
from codex_lb.gateway.ingress.authenticate import authenticate, check_address, check_key
from codex_lb.gateway.leasing.policy import KeyPolicy, Policy, PoolWindow
from codex_lb.gateway.upstream.headers import VERSION, RawHeader
from codex_lb.kit.client_ip import LOCAL_HOSTS, Caller, caller_of, host_name
from codex_lb.kit.clock import Clock
from codex_lb.kit.failed_attempts import FailedAttempts

WRONG_KEYS_MAX = 20  # of one address in a minute; a client with an old key sends a few
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Admitted:
    """A caller that may go on."""

    caller: Caller
    key: KeyPolicy | None
    policy: Policy
    at: datetime

    @property
    def hides_quota(self) -> bool:
        """Whether the caller must not see how full the pool is."""
        return self.key is not None and self.policy.hide_quota_from_keys


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A caller with a key that works."""

    key: KeyPolicy
    policy: Policy
    at: datetime


class Policies(Protocol):
    """Whoever holds the newest snapshot."""

    @property
    def policy(self) -> Policy: ...


class Gate:
    """Authentication against the policy snapshot: no call to anybody."""

    def __init__(
        self,
        policies: Policies,
        clock: Clock,
        *,
        trust_headers: bool,
        trusted_proxies: tuple[IPv4Network | IPv6Network, ...],
    ) -> None:
        self._policies = policies
        self._clock = clock
        self._trust_headers = trust_headers
        self._trusted_proxies = trusted_proxies
        # A good key is never refused for its neighbours' mistakes: behind one address there may be a whole office.
        self._failed = FailedAttempts(attempts_max=WRONG_KEYS_MAX)

    def admit(self, scope: Scope) -> Admitted:
        """Raises ForbiddenAddressError, UnauthenticatedError, TooManyFailuresError or ForbiddenError;
        ControlUnavailableError before control was heard for the first time.
        """
        policy, caller, now = self._known(scope)
        key = self._checked(caller, lambda: authenticate(policy, caller, bearer(scope), now=now))
        if key is None:  # let in for where it is, which is true of every page that its browser shows
            check_origin(scope["headers"])
        return Admitted(caller, key, policy, now)

    def admit_key(self, scope: Scope) -> KeyHolder:
        """The same for what needs a key even while keys are off."""
        policy, caller, now = self._known(scope)
        return KeyHolder(self._checked(caller, lambda: check_key(policy, bearer(scope), now=now)), policy, now)

    def _known(self, scope: Scope) -> tuple[Policy, Caller, datetime]:
        client = scope.get("client")
        caller = caller_of(
            client[0] if client else "127.0.0.1",  # a unix socket has no address and is as local as can be
            scope["headers"],
            trust_headers=self._trust_headers,
            trusted_proxies=self._trusted_proxies,
        )
        policy = self._policies.policy
        if not policy.is_known:
            # Whether keys are asked for is not known yet: neither a 401 nor a pass would be true.
            raise ControlUnavailableError("The gateway has not heard from control yet. Try again in a few seconds.")
        check_address(policy, caller)
        return policy, caller, self._clock.now()

    def _checked(self, caller: Caller, check: Callable[[], T]) -> T:
        try:
            return check()
        except WrongKeyError as error:
            wait_s = self._failed.failed(caller.client or caller.peer, now_s=self._clock.monotonic())
            if wait_s > 0:
                raise TooManyFailuresError(retry_after_s=wait_s) from error
            raise


def check_origin(headers: list[RawHeader]) -> None:
    """A page of another site must not use the pool through its visitor's browser. Raises ForbiddenError."""
    origin = header(headers, b"origin")
    if not origin:
        return
    try:
        named = urlsplit(origin.decode("latin-1")).netloc.encode("latin-1").lower()
    except ValueError:
        named = b""
    host = header(headers, b"host").lower()
    are_local = host_name(named) in LOCAL_HOSTS and host_name(host) in LOCAL_HOSTS
    if not named or (
        named != host and not are_local
    ):  # nothing is named by "null", which any site can make a frame say
        raise ForbiddenError("Pages of other sites are not served. Programs in a browser need an API key.")


def bearer(scope: Scope) -> bytes:
    """The Authorization header."""
    return header(scope["headers"], b"authorization")


def header(headers: list[RawHeader], name: bytes) -> bytes:
    """The first header of that name, empty without one."""
    for known, value in headers:
        if known == name:
            return value
    return b""


def answer_headers(request_id: str, admitted: Admitted | None) -> list[RawHeader]:
    """Headers of every answer: which request it was, which version answered, how full the pool is."""
    headers: list[RawHeader] = [(b"x-request-id", request_id.encode()), (b"x-app-version", VERSION.encode())]
    if admitted is not None and not admitted.hides_quota:
        headers += quota_headers(admitted.policy.windows)
    return headers


@lru_cache(maxsize=4)  # the same until the pool's state comes anew
def quota_headers(windows: tuple[PoolWindow, ...]) -> tuple[RawHeader, ...]:
    """How full the pool is, as Codex reads it of an account (data-plane reference 2.6)."""
    headers: list[RawHeader] = []
    for window in windows:
        prefix = f"x-codex-{window.window}-"
        headers.append(((prefix + "used-percent").encode(), f"{window.used_percent:g}".encode()))
        headers.append(((prefix + "window-minutes").encode(), str(window.window_minutes).encode()))
        if window.resets_at is not None:
            headers.append(((prefix + "reset-at").encode(), str(int(window.resets_at.timestamp())).encode()))
    return tuple(headers)
