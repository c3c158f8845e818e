"""POST /backend-api/codex/responses and POST /v1/responses."""

from __future__ import annotations

import structlog
from starlette.types import Receive, Scope, Send

from codex_lb.gateway.errors import DrainingError, ForbiddenError, GatewayError
from codex_lb.gateway.ingress.body import ClientGoneError, read_body, unpack
from codex_lb.gateway.routes.gate import Admitted, Gate, answer_headers, header
from codex_lb.gateway.routes.replies import reply_error
from codex_lb.gateway.translate.responses import ResponsesRequest, native_body, public_body, read_request
from codex_lb.gateway.turn.delivery import Dialect, JsonDelivery, SseDelivery
from codex_lb.gateway.turn.turn import TurnRequest, Turns
from codex_lb.gateway.upstream.headers import RawHeader
from codex_lb.kit.clock import Clock
from codex_lb.kit.ids import new_id

OVERSIZE_STATUS = 400  # Codex sends a request again five times after 413
log = structlog.get_logger(__name__)


class Responses:
    """One ASGI endpoint per dialect."""

    def __init__(self, turns: Turns, gate: Gate, clock: Clock, dialect: Dialect, *, body_bytes_max: int) -> None:
        self._turns = turns
        self._gate = gate
        self._clock = clock
        self._dialect = dialect
        self._body_bytes_max = body_bytes_max
        self.is_draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; an error that reaches this point has not been told to the client yet."""
        turn_id = new_id("turn")
        own_headers = answer_headers(turn_id, None)
        try:
            if self.is_draining:
                raise DrainingError("Server is draining")
            admitted = self._gate.admit(scope)
            own_headers = answer_headers(turn_id, admitted)
            request, is_streamed = await self._read(turn_id, scope, receive, admitted)
            as_asked = request.model == request.requested_model
            delivery: SseDelivery | JsonDelivery
            if is_streamed:
                delivery = SseDelivery(send, self._dialect, own_headers, model_is_as_asked=as_asked)
            else:
                delivery = JsonDelivery(send, own_headers, model_is_as_asked=as_asked)
            await self._turns.run(request, delivery, receive)
        except GatewayError as error:
            await reply_error(send, error, own_headers)
        except ClientGoneError:
            return

    async def _read(self, turn_id: str, scope: Scope, receive: Receive, admitted: Admitted) -> tuple[TurnRequest, bool]:
        """The request as a turn, and whether its answer is to be streamed."""
        started, started_at = self._clock.monotonic(), self._clock.now()
        headers: list[RawHeader] = scope["headers"]
        sent = await read_body(
            receive,
            content_length=header(headers, b"content-length"),
            bytes_max=self._body_bytes_max,
            too_large_status=OVERSIZE_STATUS,
        )
        encoding = header(headers, b"content-encoding")
        plain = unpack(sent, encoding, bytes_max=self._body_bytes_max, too_large_status=OVERSIZE_STATUS)
        asked = read_request(plain)
        check_model(asked, admitted)
        if self._dialect is Dialect.NATIVE:
            body, is_streamed = native_body(plain, asked), True
        else:
            body, is_streamed = public_body(plain), asked.stream is True
        # Upstream takes zstd from Codex itself, so a body that stays as it is stays packed as it came.
        goes_packed = body is plain and encoding.strip().lower() == b"zstd"
        request = TurnRequest(
            turn_id=turn_id,
            started=started,
            started_at=started_at,
            route=scope["path"],
            headers=tuple(headers),
            body=sent if goes_packed else body,
            content_encoding="zstd" if goes_packed else "",
            requested_model=asked.model,
            model=asked.model,
            reasoning_effort=(asked.reasoning.effort or "") if asked.reasoning else "",
            service_tier=asked.service_tier or "",
            api_key_id=admitted.key.api_key_id if admitted.key else "",
            user_agent=header(headers, b"user-agent").decode("latin-1"),
            client_ip=str(admitted.caller.client or ""),
            session_id=session_of(headers),
            request_bytes=len(sent),
        )
        return request, is_streamed


def check_model(asked: ResponsesRequest, admitted: Admitted) -> None:
    """Raises ForbiddenError when the key may not use the model."""
    key = admitted.key
    if key is not None and key.allowed_models and asked.model not in key.allowed_models:
        error = ForbiddenError(f"This API key does not have access to model '{asked.model}'")
        error.code = "model_not_allowed"
        raise error


SESSION_HEADERS = (b"session-id", b"session_id", b"x-codex-session-id", b"thread-id", b"x-session-id")


def session_of(headers: list[RawHeader]) -> str:
    """The session a client names, empty without one; cut, because it is only shown."""
    for name in SESSION_HEADERS:
        if value := header(headers, name):
            return value[:120].decode("latin-1")
    return ""
