"""POST /v1/chat/completions."""

from __future__ import annotations

from functools import lru_cache

import msgspec
from starlette.types import Receive, Scope, Send

from codex_lb.gateway.errors import DrainingError, GatewayError
from codex_lb.gateway.ingress.body import ClientGoneError
from codex_lb.gateway.ingress.hang_up import hang_up_of
from codex_lb.gateway.leasing.policy import ListedModel
from codex_lb.gateway.routes.gate import Gate, answer_headers
from codex_lb.gateway.routes.reading import Asked, receive_request, turn_of
from codex_lb.gateway.routes.replies import reply_error
from codex_lb.gateway.translate.chat_answer import AnswerHead
from codex_lb.gateway.translate.chat_request import chat_turn
from codex_lb.gateway.turn.chat_delivery import ChatJsonDelivery, ChatStreamDelivery
from codex_lb.gateway.turn.turn import Turns
from codex_lb.kit.clock import Clock
from codex_lb.kit.ids import new_id

OVERSIZE_STATUS = 413


class Chat:
    """The ASGI endpoint."""

    def __init__(self, turns: Turns, gate: Gate, clock: Clock, *, body_bytes_max: int) -> None:
        self._turns = turns
        self._gate = gate
        self._clock = clock
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
            received = await receive_request(
                scope, receive, self._clock, body_bytes_max=self._body_bytes_max, too_large_status=OVERSIZE_STATUS
            )
            chat = chat_turn(received.plain, refuses_summary=without_summaries(admitted.policy.models))
            asked = Asked(chat.model, chat.reasoning_effort, chat.service_tier)
            turn = turn_of(received, admitted, asked, turn_id=turn_id, body=chat.body)
            head = AnswerHead(f"chatcmpl-{turn_id}", int(received.started_at.timestamp()), chat.model)
            delivery: ChatStreamDelivery | ChatJsonDelivery
            if chat.is_streamed:
                delivery = ChatStreamDelivery(send, head, own_headers, includes_usage=chat.includes_usage)
            else:
                delivery = ChatJsonDelivery(send, head, own_headers)
            await self._turns.run(turn, delivery, hang_up_of(receive))
        except GatewayError as error:
            await reply_error(send, error, own_headers)
        except ClientGoneError:
            return


class CatalogEntry(msgspec.Struct):
    """What is read of a model's entry."""

    supports_reasoning_summaries: bool | None = None


@lru_cache(maxsize=4)  # snapshots change every few minutes
def without_summaries(models: tuple[ListedModel, ...]) -> frozenset[str]:
    """The models that refuse a wish for reasoning summaries, as the catalog says."""
    return frozenset(model.slug for model in models if _supports_summaries(model.entry_json) is False)


def _supports_summaries(entry_json: bytes) -> bool | None:
    try:
        return msgspec.json.decode(entry_json, type=CatalogEntry).supports_reasoning_summaries
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
