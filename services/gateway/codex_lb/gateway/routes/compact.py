"""POST /backend-api/codex/responses/compact and POST /v1/responses/compact (data-plane reference 1.9)."""

from __future__ import annotations

from functools import partial

from starlette.types import Receive, Scope, Send

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
from codex_lb.gateway.routes.responses import OVERSIZE_STATUS
from codex_lb.gateway.translate.compact import compaction_answer, compaction_body
from codex_lb.gateway.translate.responses import native_turn, public_turn
from codex_lb.gateway.turn.context import TurnRequest
from codex_lb.gateway.turn.delivery import Dialect
from codex_lb.gateway.turn.shaped_delivery import ShapedDelivery
from codex_lb.gateway.turn.turn import Turns
from codex_lb.kit.clock import Clock
from codex_lb.kit.ids import new_id


class Compact:
    """One ASGI endpoint per dialect."""

    def __init__(
        self,
        turns: Turns,
        gate: Gate,
        clock: Clock,
        dialect: Dialect,
        fetch_images: FetchImages,
        *,
        body_bytes_max: int,
    ) -> None:
        self._turns = turns
        self._gate = gate
        self._clock = clock
        self._is_native = dialect is Dialect.NATIVE
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
            request = await self._read(turn_id, scope, receive, admitted)
            shape = partial(compaction_answer, is_narrow=self._is_native)
            await self._turns.run(request, ShapedDelivery(send, own_headers, shape), hang_up_of(receive))
        except GatewayError as error:
            await reply_error(send, error, own_headers)
        except ClientGoneError:
            return

    async def _read(self, turn_id: str, scope: Scope, receive: Receive, admitted: Admitted) -> TurnRequest:
        received = await receive_request(
            scope, receive, self._clock, body_bytes_max=self._body_bytes_max, too_large_status=OVERSIZE_STATUS
        )
        read = native_turn if self._is_native else public_turn
        wanted = read(received.plain, catalog_of(admitted.policy.models), terms_of(admitted.key))
        asked = Asked(wanted.model, wanted.reasoning_effort, wanted.service_tier, wanted.requested_model)
        check_model(asked.model, admitted)
        body = await with_fetched_images(compaction_body(wanted.body), self._fetch_images)
        return turn_of(received, admitted, asked, turn_id=turn_id, body=body)
