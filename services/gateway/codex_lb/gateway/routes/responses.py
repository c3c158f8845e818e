"""POST /backend-api/codex/responses and POST /v1/responses."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from codex_lb.gateway.continuity.answers import MemoryAnswers, input_items, recalled
from codex_lb.gateway.errors import DrainingError, GatewayError
from codex_lb.gateway.ingress.body import ClientGoneError
from codex_lb.gateway.ingress.hang_up import hang_up_of
from codex_lb.gateway.ingress.images import FetchImages
from codex_lb.gateway.routes.gate import Admitted, Gate, answer_headers
from codex_lb.gateway.routes.reading import (
    Asked,
    catalog_of,
    check_model,
    receive_request,
    terms_of,
    turn_of,
    with_fetched_images,
)
from codex_lb.gateway.routes.replies import reply_error
from codex_lb.gateway.translate.responses import native_turn, public_turn
from codex_lb.gateway.turn.context import TurnRequest
from codex_lb.gateway.turn.delivery import Dialect, JsonDelivery, SseDelivery
from codex_lb.gateway.turn.turn import Turns
from codex_lb.kit.clock import Clock
from codex_lb.kit.ids import new_id

OVERSIZE_STATUS = 400  # Codex sends a request again five times after 413


class Responses:
    """One ASGI endpoint per dialect."""

    def __init__(
        self,
        turns: Turns,
        gate: Gate,
        clock: Clock,
        dialect: Dialect,
        fetch_images: FetchImages,
        answers: MemoryAnswers,
        *,
        body_bytes_max: int,
    ) -> None:
        self._answers = answers
        self._turns = turns
        self._gate = gate
        self._clock = clock
        self._dialect = dialect
        self._fetch_images = fetch_images
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
            request, is_streamed, is_kept, continues = await self._read(turn_id, scope, receive, admitted)
            as_asked = request.model == request.requested_model
            delivery: SseDelivery | JsonDelivery
            if is_streamed:
                delivery = SseDelivery(send, self._dialect, own_headers, model_is_as_asked=as_asked)
            else:
                delivery = JsonDelivery(send, own_headers, model_is_as_asked=as_asked)
            delivery.continues = continues
            completed = await self._turns.run(request, delivery, hang_up_of(receive))
            if completed is not None and self._dialect is Dialect.PUBLIC and is_kept:
                before = input_items(request.body) or []
                self._answers.remember(request.api_key_id, completed.response_id, before, delivery.items())
        except GatewayError as error:
            await reply_error(send, error, own_headers)
        except ClientGoneError:
            return

    async def _read(
        self, turn_id: str, scope: Scope, receive: Receive, admitted: Admitted
    ) -> tuple[TurnRequest, bool, bool, str]:
        """The request as a turn, whether its answer is streamed, whether the client may come back to it, and to which
        response it comes back.
        """
        received = await receive_request(
            scope, receive, self._clock, body_bytes_max=self._body_bytes_max, too_large_status=OVERSIZE_STATUS
        )
        is_native = self._dialect is Dialect.NATIVE
        read = native_turn if is_native else public_turn
        plain, continues = received.plain, ""
        if not is_native:
            plain, continues = recalled(plain, self._answers, admitted.key.api_key_id if admitted.key else "")
        wanted = read(plain, catalog_of(admitted.policy.models), terms_of(admitted.key))
        asked = Asked(wanted.model, wanted.reasoning_effort, wanted.service_tier, wanted.requested_model)
        check_model(asked.model, admitted)  # before anything is fetched for this caller
        body = await with_fetched_images(wanted.body, self._fetch_images)
        if body is received.plain and received.is_zstd:
            # Upstream takes zstd from Codex itself, so a body that stays as it is stays packed as it came.
            turn = turn_of(
                received,
                admitted,
                asked,
                turn_id=turn_id,
                body=received.sent,
                content_encoding="zstd",
                plain=body,
                items=wanted.input,
            )
        else:
            turn = turn_of(received, admitted, asked, turn_id=turn_id, body=body, items=wanted.input)
        return turn, is_native or wanted.is_streamed, wanted.is_stored, continues
