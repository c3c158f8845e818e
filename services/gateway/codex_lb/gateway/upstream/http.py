"""One HTTP request to upstream and its answer, as bytes: the port, and what it means when a connection fails.

Two adapters: `direct.py` is ours and serves whenever it can; `proxied.py` is aiohttp's client, for where a proxy stands
between (ADR 0014). `opening.py` chooses.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from codex_lb.gateway.outcome import Blame, Fault
from codex_lb.gateway.upstream.headers import Header

KEEPALIVE_S = 90.0  # upstream's edge closes idle connections after about this long
READ_BUFFER_BYTES = 256 * 2**10  # of one answer, before reading stops: a slow client slows its upstream, not memory


class BrokenConnectionError(Exception):
    """Upstream could not be reached, or the answer broke off; `fault` says how."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class UpstreamAnswer(Protocol):
    """An answer whose body is still coming."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names are in lower case; of a header that came several times, the first."""
        ...

    @property
    def is_at_end(self) -> bool:
        """Whether all of the body has been read."""
        ...

    async def chunk(self) -> bytes:
        """What has come of the body since; empty at its end. Raises BrokenConnectionError when it breaks off."""
        ...

    async def read(self, bytes_max: int) -> bytes:
        """The body whole, cut at the bound. Raises BrokenConnectionError."""
        ...


class UpstreamHttp(Protocol):
    """Sends requests."""

    def request(
        self, method: str, path: str, *, headers: list[Header], body: bytes
    ) -> AbstractAsyncContextManager[UpstreamAnswer]:
        """Sends a request; leaving the context ends the answer, wherever it is. Raises BrokenConnectionError.

        The path, with its query, travels as it is: whoever puts a client's words into it has quoted them. HEAD is not
        for this port: its answers are framed by the request.
        """
        ...

    def post(self, path: str, *, headers: list[Header], body: bytes) -> AbstractAsyncContextManager[UpstreamAnswer]:
        """The same for a POST."""
        ...


NO_ANSWER = Fault("upstream_unavailable", Blame.UPSTREAM, "Upstream closed the connection without an answer")


def unreached(error: Exception) -> Fault:
    """A request that got no status line. Whether it was read nobody knows; nothing was shown, so it may go again."""
    if isinstance(error, socket.gaierror):
        return Fault("upstream_unavailable", Blame.NETWORK, "Upstream's name could not be resolved")
    if isinstance(error, TimeoutError):
        return Fault("upstream_unavailable", Blame.NETWORK, "Upstream did not accept the connection in time")
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return NO_ANSWER
    return Fault("upstream_unavailable", Blame.NETWORK, "Upstream could not be reached")


def cut_off(how: str) -> Fault:
    """An answer that broke off."""
    return Fault("stream_incomplete", Blame.UPSTREAM, f"Upstream broke off its answer ({how})")
