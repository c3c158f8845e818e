"""One client connection's upstream socket, from turn to turn.

A response id can be continued only on the socket that gave it. The session knows which ids those are, so a turn that
cannot be continued is told so at once, in the words that make Codex send everything again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress

import anyio

from codex_lb.gateway.continuity.prefixes import Chain
from codex_lb.gateway.leasing.lease import Lease
from codex_lb.gateway.upstream.headers import Header
from codex_lb.gateway.upstream.websocket import Closed, UpstreamSocket, UpstreamSockets
from codex_lb.kit.clock import Clock

RESPONSES_PATH = "/codex/responses"
RESPONSE_IDS_MAX = 64  # the client continues its last response, or one a few steps back
AGE_MAX_S = 55 * 60.0  # upstream closes at 60 minutes, in the middle of a turn if need be
CLOSE_S = 2.0


class Session:
    """The socket, whose it is, and what it has answered."""

    def __init__(self, sockets: UpstreamSockets, clock: Clock) -> None:
        self._sockets = sockets
        self._clock = clock
        self._socket: UpstreamSocket | None = None
        self._opened = 0.0  # monotonic
        self._answered: OrderedDict[str, Chain | None] = OrderedDict()  # by response id
        self._resting: asyncio.Task[None] | None = None
        self.account_id = ""
        self.is_http_only = False  # upstream answered 426: this conversation goes on by requests
        self.closed = asyncio.Event()  # upstream closed the socket between two turns
        self.close_code = 1000

    @property
    def is_live(self) -> bool:
        """Whether there is a socket that another turn can use."""
        socket = self._socket
        return socket is not None and socket.is_open and self._clock.monotonic() - self._opened < AGE_MAX_S

    def can_continue(self, response_id: str) -> bool:
        """Whether that response was given on the socket there is."""
        return self.is_live and response_id in self._answered

    def chain_of(self, response_id: str) -> Chain | None:
        """The conversation that a response ended, where its client does not name it."""
        return self._answered.get(response_id)

    def note_response(self, response_id: str, chain: Chain | None) -> None:
        """A response that may be continued here."""
        if response_id:
            self._answered[response_id] = chain
        if len(self._answered) > RESPONSE_IDS_MAX:
            self._answered.popitem(last=False)

    async def socket_for(self, lease: Lease, headers: list[Header]) -> UpstreamSocket:
        """The account's socket: the one there is, or a new one. Raises what UpstreamSockets.open raises."""
        await self._wake()
        if self._socket is not None and self.is_live and self.account_id == lease.account_id:
            return self._socket
        await self.drop()
        self._socket = await self._sockets.open(RESPONSES_PATH, headers=headers)
        self._opened = self._clock.monotonic()
        self.account_id = lease.account_id
        self.closed.clear()
        return self._socket

    async def forward(self, frame: str) -> bool:
        """Sends a frame that starts no turn; False when there is no socket."""
        if self._socket is None or not self._socket.is_open:
            return False
        await self._socket.send(frame)
        return True

    def rest(self) -> None:
        """Between turns: keeps answering pings, and notices that upstream closes."""
        if self._socket is not None and self._resting is None:
            self._resting = asyncio.create_task(self._rest(self._socket), name="resting upstream socket")

    async def drop(self) -> None:
        """Closes the socket; what it answered cannot be continued any more."""
        await self._wake()
        socket, self._socket = self._socket, None
        self.account_id = ""
        self._answered.clear()
        if socket is not None:
            with anyio.move_on_after(CLOSE_S, shield=True):
                await socket.close()

    async def _rest(self, socket: UpstreamSocket) -> None:
        while True:
            heard = await socket.receive()
            if isinstance(heard, Closed):
                self.close_code = heard.code
                self.closed.set()
                return

    async def _wake(self) -> None:
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.cancel()
            with suppress(asyncio.CancelledError):
                await resting
