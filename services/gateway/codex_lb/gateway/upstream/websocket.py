"""A WebSocket to upstream: one account, one event a frame. A port beside the one for HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from codex_lb.gateway.outcome import Blame, Failure, Fault
from codex_lb.gateway.upstream.headers import Header

ABNORMAL = 1006  # the connection ended without a close frame; never sent (RFC 6455, 7.4.1)


@dataclass(frozen=True, slots=True)
class Closed:
    """The socket is closed, by whoever."""

    code: int
    reason: str


class HandshakeRefusedError(Exception):
    """Upstream answered the handshake with an HTTP status; `failure` is what it means."""

    def __init__(self, status: int, failure: Failure) -> None:
        super().__init__(failure.fault.message)
        self.status = status
        self.failure = failure


class UpstreamSocket(Protocol):
    """An open socket."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the handshake's answer; case-insensitive."""
        ...

    @property
    def is_open(self) -> bool: ...

    async def send(self, frame: str) -> None:
        """Raises BrokenConnectionError."""
        ...

    async def receive(self) -> str | Closed:
        """The next frame. May be cancelled and called again; must be called for pings to be answered."""
        ...

    async def close(self) -> None:
        """Says goodbye, bounded."""
        ...


class UpstreamSockets(Protocol):
    """Opens sockets."""

    async def open(self, path: str, *, headers: list[Header]) -> UpstreamSocket:
        """Raises HandshakeRefusedError or BrokenConnectionError."""
        ...


def closed_early(closed: Closed) -> Fault:
    """A socket that closed before the answer was whole."""
    message = f"Upstream closed the connection ({closed.code}) before the answer's end"
    return Fault("stream_incomplete", Blame.UPSTREAM, message)
