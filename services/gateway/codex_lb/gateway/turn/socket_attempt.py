"""An attempt over the session's upstream socket: one frame up, events down, the socket left open for the next turn."""

from __future__ import annotations

from dataclasses import dataclass

from codex_lb.gateway.continuity.classify import without
from codex_lb.gateway.leasing.held import Holding
from codex_lb.gateway.outcome import Blame, Broken, Completed, Fault, Outcome, Rejected
from codex_lb.gateway.sessions.session import Session
from codex_lb.gateway.turn.attempt import HttpAttempt
from codex_lb.gateway.turn.context import Attempt, TurnContext, Wish
from codex_lb.gateway.turn.relay import Relay
from codex_lb.gateway.turn.sse import Segment, segment_of_frame
from codex_lb.gateway.upstream import quota
from codex_lb.gateway.upstream.headers import handshake_headers
from codex_lb.gateway.upstream.http import BrokenConnectionError, UpstreamHttp
from codex_lb.gateway.upstream.turn_state import without_foreign
from codex_lb.gateway.upstream.websocket import Closed, HandshakeRefusedError, UpstreamSocket, closed_early

UPGRADE_REQUIRED = 426
TOO_LARGE = 1009
FRAME_BYTES_MAX = 15_500_000  # upstream closes at 16 MiB whatever the account; above this a turn goes by HTTP


@dataclass(frozen=True, slots=True)
class Frames:
    """A turn's request in both its forms."""

    frame: str  # `response.create`, for a socket
    body: bytes  # the same for an HTTP request; empty when it cannot go as one
    is_continuation: bool  # refers to a response of this very socket and holds no more than what is new


class SocketCaller:
    """Speaks over the session's socket, or by requests where upstream wants that or the frame is too large."""

    def __init__(self, session: Session, upstream: UpstreamHttp, frames: Frames, *, event_bytes_max: int) -> None:
        self._session = session
        self._upstream = upstream
        self._frames = frames
        self._owner = session.account_id  # stays the owner when its socket is lost on the way
        self._event_bytes_max = event_bytes_max
        self._is_too_large = len(frames.frame) >= FRAME_BYTES_MAX

    def wish(self) -> Wish:
        """A continuation takes the account whose socket is open and no other; what is complete goes where it is best."""
        is_bound = self._frames.is_continuation
        return Wish(self._owner if is_bound else "", is_bound=is_bound, upstream_transport="websocket")

    def attempt(self, context: TurnContext) -> Attempt:
        if (self._session.is_http_only or self._is_too_large) and self._frames.body:
            return HttpAttempt(context, self._upstream, self._frames.body, event_bytes_max=self._event_bytes_max)
        return SocketAttempt(context, self._session, self._frames)


class SocketAttempt:
    """The state of one turn on the socket."""

    def __init__(self, context: TurnContext, session: Session, frames: Frames) -> None:
        self._context = context
        self._session = session
        self._frames = frames
        self._relay: Relay | None = None

    @property
    def outcome(self) -> Outcome | None:
        return self._relay.outcome if self._relay else None

    @property
    def withheld(self) -> list[Segment]:
        return self._relay.withheld if self._relay else []

    @property
    def has_told_failure(self) -> bool:
        return self._relay is not None and self._relay.has_told_failure

    async def run(self, holding: Holding) -> Outcome:
        """Every way in which it can end is an outcome. A socket whose turn did not end well is closed."""
        relay = self._relay = Relay(self._context, holding)
        outcome: Outcome | None = None
        try:
            outcome = await self._spoken(holding, relay)
        finally:
            if isinstance(relay.outcome if outcome is None else outcome, Completed):
                self._session.rest()
            else:
                await self._session.drop()
        return outcome

    async def _spoken(self, holding: Holding, relay: Relay) -> Outcome:
        holding.calls()
        context = self._context
        context.timings.dispatched_s = context.elapsed()
        try:
            was_live = self._session.is_live and self._session.account_id == holding.lease.account_id
            if self._frames.is_continuation and not was_live:
                return lost_continuation()
            socket = await self._session.socket_for(holding.lease, self._headers(holding))
            if not was_live:
                relay.learn(quota.read_headers(socket.headers))
            await socket.send(self._readable(holding))
            context.deadline.heard = context.clock.monotonic()
            handshake = [] if was_live else list(socket.headers.items())
            context.delivery.begin(handshake, holding.lease.account_id)
            return await self._relayed(socket, relay, holding)
        except HandshakeRefusedError as refused:
            if refused.status == UPGRADE_REQUIRED:
                self._session.is_http_only = True  # the same account is asked again, by a request
                return Broken(Fault("upgrade_required", Blame.UPSTREAM, "Upstream takes no WebSocket now"))
            return refused.failure
        except BrokenConnectionError as error:
            return relay.broken(error.fault)

    async def _relayed(self, socket: UpstreamSocket, relay: Relay, holding: Holding) -> Outcome:
        context = self._context
        deadline, monotonic, timings = context.deadline, context.clock.monotonic, context.timings
        while True:
            heard = await socket.receive()
            deadline.heard = monotonic()
            if isinstance(heard, Closed):
                if heard.code == TOO_LARGE and timings.first_byte_s is None:
                    self._session.is_http_only = True  # the frame is, whatever the account: it goes by a request
                return relay.broken(closed_early(heard))
            if timings.first_byte_s is None:
                timings.first_byte_s = context.elapsed()
            holding.begun()
            await relay.take(segment_of_frame(heard))
            if isinstance(relay.outcome, Completed):
                self._session.note_response(relay.outcome.response_id, context.request.continuity.chain)
                return relay.outcome  # its end takes along what was taken, in one piece
            await relay.flush()
            if relay.outcome is not None:
                return relay.outcome

    def _readable(self, holding: Holding) -> str:
        foreign = holding.lease.foreign_anchors
        return without(self._frames.frame.encode(), foreign).decode() if foreign else self._frames.frame

    def _headers(self, holding: Holding) -> list[tuple[str, str]]:
        lease, request = holding.lease, self._context.request
        return handshake_headers(
            without_foreign(request.headers, lease.account_id),
            access_token=lease.access_token,
            chatgpt_account_id=lease.chatgpt_account_id,
            request_id=request.turn_id,
        )


def lost_continuation() -> Outcome:
    """The response to be continued died with its socket."""
    # The client's to mend, by sending everything: no other account could go on either.
    return Rejected(Fault("previous_response_not_found", Blame.CLIENT, "Previous response not found."))
