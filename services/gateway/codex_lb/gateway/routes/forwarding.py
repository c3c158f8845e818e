"""What every endpoint does that forwards one small call: admit, read, ask upstream, answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from starlette.types import Receive, Scope, Send

from codex_lb.gateway.errors import DrainingError, GatewayError, MethodNotAllowedError
from codex_lb.gateway.ingress.body import ClientGoneError
from codex_lb.gateway.ingress.hang_up import hang_up_of
from codex_lb.gateway.routes.gate import Admitted, Gate, answer_headers, header
from codex_lb.gateway.routes.reading import Received, receive_request, session_of
from codex_lb.gateway.routes.replies import reply_error
from codex_lb.gateway.turn.forward import Answer, Errand, Forwards, Origin
from codex_lb.gateway.upstream.headers import RawHeader
from codex_lb.kit.clock import Clock
from codex_lb.kit.ids import new_id

OVERSIZE_STATUS = 413
ANSWER_BYTES_MAX = 16 * 2**20  # a search answer is some kilobytes; more than this is no small answer
WITHOUT_BODY = frozenset({204, 304})  # they must not state a length
JSON_ANSWER = frozenset({"content-type"})


class Kind(Protocol):
    """What tells one such endpoint from another."""

    methods: frozenset[str]
    body_bytes_max: int
    kept_headers: frozenset[str]  # of upstream's answer

    def errand(self, scope: Scope, received: Received, admitted: Admitted) -> Errand:
        """What to ask of upstream for a request. Raises GatewayError."""
        ...

    def accept(self, scope: Scope, answer: Answer) -> None:
        """Learns from an answer that the client is about to get. Raises GatewayError when it is none."""
        ...


class Forwarding:
    """One ASGI endpoint."""

    def __init__(self, kind: Kind, forwards: Forwards, gate: Gate, clock: Clock) -> None:
        self._kind = kind
        self._forwards = forwards
        self._gate = gate
        self._clock = clock
        self.is_draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        turn_id = new_id("turn")
        own_headers = answer_headers(turn_id, None)
        try:
            if scope["method"] not in self._kind.methods:  # Starlette takes HEAD wherever GET is allowed
                raise MethodNotAllowedError(f"{scope['method']} is not allowed here")
            if self.is_draining:
                raise DrainingError("Server is draining")
            admitted = self._gate.admit(scope)
            own_headers = answer_headers(turn_id, admitted)
            errand, origin = await self._read(turn_id, scope, receive, admitted)
            answer = await self._forwards.run(errand, origin, hang_up_of(receive))
            self._kind.accept(scope, answer)
            await pass_on(send, answer, own_headers, kept=self._kind.kept_headers)
        except GatewayError as error:
            await reply_error(send, error, own_headers)
        except ClientGoneError:
            return

    async def _read(self, turn_id: str, scope: Scope, receive: Receive, admitted: Admitted) -> tuple[Errand, Origin]:
        """The request as an errand; what came goes out of memory with this frame."""
        received = await receive_request(
            scope, receive, self._clock, body_bytes_max=self._kind.body_bytes_max, too_large_status=OVERSIZE_STATUS
        )
        origin = Origin(
            turn_id=turn_id,
            started=received.started,
            started_at=received.started_at,
            route=received.route,
            api_key_id=admitted.key.api_key_id if admitted.key else "",
            user_agent=header(received.headers, b"user-agent").decode("latin-1"),
            client_ip=str(admitted.caller.client or ""),
            session_id=session_of(received.headers),
            request_bytes=len(received.sent),
        )
        return self._kind.errand(scope, received, admitted), origin


async def pass_on(send: Send, answer: Answer, own_headers: list[RawHeader], *, kept: frozenset[str]) -> None:
    """Upstream's status and body as they came, with the headers that concern the client."""
    passed = kept_of(answer.headers, kept)
    names = {name for name, _ in passed}
    headers = [*(h for h in own_headers if h[0] not in names), *passed]
    if answer.status not in WITHOUT_BODY:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


def kept_of(headers: Mapping[str, str], kept: frozenset[str]) -> list[RawHeader]:
    """The headers that stay, as the bytes they were."""
    return [
        (name.encode("latin-1"), value.encode("utf-8", "surrogateescape"))
        for name, value in headers.items()
        if name in kept
    ]
