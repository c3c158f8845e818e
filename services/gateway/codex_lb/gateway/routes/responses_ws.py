"""WebSocket on /backend-api/codex/responses and /v1/responses: turn after turn on one connection.

Turns of a connection run one after another, in the order in which they were asked for. Each has a lease of its own; the
account changes only between turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
import structlog
from starlette.types import Receive, Scope, Send

from codex_lb.gateway.errors import (
    DrainingError,
    GatewayError,
    HttpInsteadError,
    InvalidRequestError,
    PoolBusyError,
    envelope,
)
from codex_lb.gateway.routes.gate import Admitted, Gate, answer_headers, header
from codex_lb.gateway.routes.reading import Asked, Received, catalog_of, terms_of, turn_of
from codex_lb.gateway.routes.replies import retry_of
from codex_lb.gateway.sessions.session import Session
from codex_lb.gateway.translate.frames import CREATE, Create, FrameHead, native_create, public_create, read_head
from codex_lb.gateway.turn.context import TurnRequest
from codex_lb.gateway.turn.delivery import Dialect
from codex_lb.gateway.turn.socket_attempt import Frames, SocketCaller
from codex_lb.gateway.turn.socket_delivery import SocketDelivery, error_frame, start_over
from codex_lb.gateway.turn.turn import Turns
from codex_lb.gateway.upstream.headers import RawHeader
from codex_lb.gateway.upstream.http import BrokenConnectionError
from codex_lb.gateway.upstream.websocket import ABNORMAL, UpstreamSockets
from codex_lb.kit.clock import Clock
from codex_lb.kit.ids import new_id

TURNS_WAITING_MAX = 16  # clients pipeline a few; more is a mistake
IDLE_S = 3600.0  # a client that has been silent for as long is gone, or will notice nothing
GOING_AWAY, RESTARTING, INTERNAL_ERROR = 1001, 1012, 1011
TURN_STATE = b"x-codex-turn-state"
log = structlog.get_logger(__name__)


class ResponsesSocket:
    """One ASGI endpoint per dialect."""

    def __init__(
        self,
        turns: Turns,
        sockets: UpstreamSockets,
        gate: Gate,
        clock: Clock,
        dialect: Dialect,
        *,
        is_offered: Callable[[], bool],
        event_bytes_max: int,
    ) -> None:
        self.turns = turns
        self.sockets = sockets
        self.gate = gate
        self.clock = clock
        self.dialect = dialect
        self.event_bytes_max = event_bytes_max
        self._is_offered = is_offered
        self._is_draining = False
        self._connections: set[Connection] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection to its end."""
        await receive()  # websocket.connect
        try:
            self._admit(scope)
        except GatewayError as error:
            await deny(send, error)
            return
        headers: list[RawHeader] = scope["headers"]
        own = answer_headers(new_id("conn"), None)
        if state := header(headers, TURN_STATE):
            own.append((TURN_STATE, state))
        await send({"type": "websocket.accept", "headers": own})
        log.info("WebSocket %s", scope["path"], user_agent=header(headers, b"user-agent").decode("latin-1"))
        connection = Connection(self, scope, receive, send)
        self._connections.add(connection)
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)

    def drain(self) -> None:
        """Refuses new connections and turns; connections without a turn are closed, so that clients move on."""
        self._is_draining = True
        for connection in self._connections:
            connection.drain()

    def _admit(self, scope: Scope) -> None:
        if self._is_draining:
            raise DrainingError("Server is draining")
        self.gate.admit(scope)
        if not self._is_offered():
            raise HttpInsteadError("WebSockets are switched off here; HTTP is not.")


class Connection:
    """One client's connection."""

    def __init__(self, endpoint: ResponsesSocket, scope: Scope, receive: Receive, send: Send) -> None:
        self._endpoint = endpoint
        self._scope = scope
        self._receive = receive
        self._send_message = send
        self._session = Session(endpoint.sockets, endpoint.clock)
        self._waiting: asyncio.Queue[tuple[str, FrameHead] | None] = asyncio.Queue(TURNS_WAITING_MAX)
        self._gone = asyncio.Event()
        self._is_busy = False
        self._is_closed = False  # by us
        self._is_draining = False
        self._drained = asyncio.Event()

    async def serve(self) -> None:
        """Until either side leaves."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._mirror_close)
                tasks.start_soon(self._close_when_drained)
                tasks.start_soon(self._take_turns, tasks.cancel_scope)
                await self._read()
        finally:
            await self._session.drop()

    def drain(self) -> None:
        """Accepts no more turns; closes once the running one is over."""
        self._is_draining = True
        if not self._is_busy:
            self._drained.set()

    async def _read(self) -> None:
        """Takes frames in: turns queue up, everything else goes to upstream as it is."""
        while not self._gone.is_set():
            message = None
            with anyio.move_on_after(IDLE_S):
                message = await self._receive()
            if message is None:
                if not self._is_busy:
                    await self._close(GOING_AWAY, "Idle downstream websocket timeout")
                continue
            if message["type"] == "websocket.disconnect":
                self._gone.set()
                break
            await self._take_in(message.get("text"))
        # The turn that runs sees that the client is gone; the one behind it never starts.
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put_nowait(None)

    async def _take_in(self, text: str | None) -> None:
        try:
            if text is None:
                raise InvalidRequestError("Binary frames are not understood here")
            head = read_head(text)
            if head.type == CREATE:
                self._queue(text, head)
            elif not await self._session.forward(text):
                raise InvalidRequestError("WebSocket connection has no active upstream session")
        except BrokenConnectionError:
            log.debug("a frame was lost with its upstream socket")
        except GatewayError as error:
            await self._send(error_frame(error))

    def _queue(self, text: str, head: FrameHead) -> None:
        try:
            self._waiting.put_nowait((text, head))
        except asyncio.QueueFull as error:
            raise PoolBusyError("Too many turns are waiting on this connection.") from error

    async def _take_turns(self, scope: anyio.CancelScope) -> None:
        while (waiting := await self._waiting.get()) is not None:
            self._is_busy = True
            try:
                await self._take_turn(*waiting)
            except GatewayError as error:
                await self._send(error_frame(error))
            finally:
                self._is_busy = False
            if self._is_draining:
                self._drained.set()
        scope.cancel()

    async def _take_turn(self, text: str, head: FrameHead) -> None:
        endpoint = self._endpoint
        if self._is_draining:
            raise DrainingError("Server is draining")
        admitted = endpoint.gate.admit(self._scope)  # again: a key may be revoked while its connection lives
        read = native_create if endpoint.dialect is Dialect.NATIVE else public_create
        create = read(text, head, catalog_of(admitted.policy.models), terms_of(admitted.key))
        request = self._request(create, admitted, size=len(text))
        continues = bool(create.previous_response_id)
        if continues and not self._session.can_continue(create.previous_response_id):
            await self._send(start_over())
            return
        delivery = SocketDelivery(self._send, endpoint.dialect, is_continuation=continues)
        caller = SocketCaller(
            self._session,
            endpoint.turns.upstream,
            Frames(create.frame, create.body, continues),
            event_bytes_max=endpoint.event_bytes_max,
        )
        await endpoint.turns.run(request, delivery, self._until_gone, caller)
        if delivery.is_broken:
            await self._close(INTERNAL_ERROR, "Upstream broke off its answer")

    def _request(self, create: Create, admitted: Admitted, *, size: int) -> TurnRequest:
        clock, asked = self._endpoint.clock, create.turn
        received = Received(
            started=clock.monotonic(),
            started_at=clock.now(),
            route=self._scope["path"],
            headers=self._scope["headers"],
            sent=b"",
            plain=b"",
        )
        wanted = Asked(asked.model, asked.reasoning_effort, asked.service_tier, asked.requested_model)
        return turn_of(
            received,
            admitted,
            wanted,
            turn_id=new_id("turn"),
            body=create.body,
            request_bytes=size,
            plain=create.frame.encode(),
            is_continuation=bool(create.previous_response_id),
            behind=self._session.chain_of(create.previous_response_id),
            items=asked.input,
        )

    async def _until_gone(self) -> None:
        await self._gone.wait()

    async def _mirror_close(self) -> None:
        """Upstream closed between two turns: so do we, and the client opens anew when it next has something to say."""
        while True:
            await self._session.closed.wait()
            if not self._is_busy and self._waiting.empty():
                break
            self._session.closed.clear()  # the turn that comes opens a socket of its own
        await self._close(self._session.close_code, "Upstream closed the connection")

    async def _close_when_drained(self) -> None:
        await self._drained.wait()
        await self._close(RESTARTING, "Server is draining")

    async def _send(self, frame: str) -> None:
        if self._is_closed:
            return
        try:
            await self._send_message({"type": "websocket.send", "text": frame})
        except OSError:  # uvicorn's word for a client that is gone
            self._gone.set()

    async def _close(self, code: int, reason: str) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        code = code if 1000 <= code < 5000 and code not in (1004, 1005, ABNORMAL, 1015) else INTERNAL_ERROR
        try:
            await self._send_message({"type": "websocket.close", "code": code, "reason": reason[:120]})
        except OSError:
            self._gone.set()


async def deny(send: Send, error: GatewayError) -> None:
    """Refuses the handshake with a status and the error's body."""
    body = envelope(error)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *retry_of(error)]
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})
