"""What sign-ins need from the outside: the issuer, the port that browsers come back to, and the rows of those under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from codex_lb.control.domain.account import Login
from codex_lb.control.domain.enrolment import Flow
from codex_lb.control.domain.ids import FlowId
from codex_lb.control.usecases.vault_ports import Sealed


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


class Flows(Protocol):
    """Sign-ins that are under way, and those of the last day."""

    async def add(self, flow: Flow, sealed: Sealed) -> None:
        """A new one."""
        ...

    async def get(self, flow_id: FlowId) -> tuple[Flow, Sealed] | None:
        """The one of that id."""
        ...

    async def by_state(self, state_digest: str) -> tuple[Flow, Sealed] | None:
        """The one whose browser was given that state."""
        ...

    async def live(self, *, now: datetime) -> Sequence[tuple[Flow, Sealed]]:
        """Those that can still succeed, oldest first."""
        ...

    async def save(self, flow: Flow) -> bool:
        """Stores what became of a flow, unless somebody changed it since it was read; then False.

        The secret of one that has ended is erased.
        """
        ...

    async def purge(self, *, before: datetime) -> None:
        """Forgets those that expired before then."""
        ...
