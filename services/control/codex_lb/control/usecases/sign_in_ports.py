"""What sign-ins need from the outside: the issuer, and the port that browsers come back to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from codex_lb.control.domain.account import Login


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What a device shows, and what the issuer knows it by."""

    device_auth_id: str
    user_code: str
    verification_url: str
    poll_period_s: float
    ttl_s: float

    def __repr__(self) -> str:
        return "DeviceCode(…)"


@dataclass(frozen=True, slots=True)
class NotYet:
    """Nobody has typed the device's code yet."""

    slow_down: bool = False


class Issuer(Protocol):
    """Upstream's sign-in. Every method raises IssuerRefusedError or IssuerUnavailableError."""

    @property
    def redirect_uri(self) -> str:
        """Where the browser is sent with the code."""
        ...

    def authorization_url(self, *, state: str, verifier: str) -> str:
        """The page to open."""
        ...

    async def exchange(self, code: str, *, verifier: str, redirect_uri: str) -> Login:
        """The login that a code is good for, once."""
        ...

    async def begin_device(self) -> DeviceCode:
        """A code to be typed on another device."""
        ...

    async def poll_device(self, device_auth_id: str, user_code: str) -> Login | NotYet:
        """The login, once somebody has typed the code."""
        ...


class CallbackPort(Protocol):
    """Where browsers come back to."""

    async def open(self) -> str:
        """Listens from now on; why it cannot, in a sentence, or nothing."""
        ...

    async def close(self) -> None:
        """Listens no more."""
        ...
