"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec
from starlette.types import Receive, Scope, Send

from codex_lb.gateway.continuity.thoughts import MemoryThoughts, Sealed
from codex_lb.gateway.errors import DrainingError, GatewayError
from codex_lb.gateway.ingress.body import ClientGoneError
from codex_lb.gateway.ingress.hang_up import hang_up_of
from codex_lb.gateway.ingress.images import FetchImages
from codex_lb.gateway.leasing.policy import ListedModel
from codex_lb.gateway.routes.gate import Gate, answer_headers
from codex_lb.gateway.routes.reading import Asked, catalog_of, check_model, receive_request, terms_of, turn_of
from codex_lb.gateway.routes.replies import reply_error
from codex_lb.gateway.translate.chat_answer import AnswerHead
from codex_lb.gateway.translate.chat_messages import Thought
from codex_lb.gateway.translate.chat_request import ChatTurn, chat_turn
from codex_lb.gateway.translate.image_parts import image_urls, with_images
from codex_lb.gateway.translate.responses import native_turn
from codex_lb.gateway.turn.chat_caller import ChatCaller
from codex_lb.gateway.turn.chat_delivery import ChatJsonDelivery, ChatStreamDelivery
from codex_lb.gateway.turn.context import TurnRequest
from codex_lb.gateway.turn.turn import Turns
from codex_lb.kit.clock import Clock
from codex_lb.kit.ids import new_id

OVERSIZE_STATUS = 413


class Chat:
    """The ASGI endpoint."""

    def __init__(
        self, turns: Turns, gate: Gate, clock: Clock, fetch_images: FetchImages, *, body_bytes_max: int
    ) -> None:
        self._turns = turns
        self._gate = gate
        self._clock = clock
        self._fetch_images = fetch_images
        self._body_bytes_max = body_bytes_max
        self._thoughts = MemoryThoughts()
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
            mind = Mind(self._thoughts, admitted.key.api_key_id if admitted.key else "")
            refuses_summary = without_summaries(admitted.policy.models)
            chat = chat_turn(received.plain, refuses_summary=refuses_summary, recall=mind.recall)
            catalog = catalog_of(admitted.policy.models)
            terms = terms_of(admitted.key)
            wanted = native_turn(chat.body(), catalog, terms)
            asked = Asked(wanted.model, wanted.reasoning_effort, wanted.service_tier, wanted.requested_model)
            check_model(asked.model, admitted)  # before anything is fetched for this caller
            images = await self._fetch_images(image_urls(wanted.body))

            def for_upstream(body: bytes) -> bytes:
                return with_images(native_turn(body, catalog, terms).body, images)

            turn = turn_of(
                received, admitted, asked, turn_id=turn_id, body=with_images(wanted.body, images), items=wanted.input
            )
            head = AnswerHead(f"chatcmpl-{turn_id}", int(received.started_at.timestamp()), chat.model)
            delivery: ChatStreamDelivery | ChatJsonDelivery
            if chat.is_streamed:
                delivery = ChatStreamDelivery(send, head, own_headers, mind.keep, includes_usage=chat.includes_usage)
            else:
                delivery = ChatJsonDelivery(send, head, own_headers, mind.keep)
            await self._turns.run(turn, delivery, hang_up_of(receive), self._caller(turn, chat, mind, for_upstream))
        except GatewayError as error:
            await reply_error(send, error, own_headers)
        except ClientGoneError:
            return

    def _caller(
        self, turn: TurnRequest, chat: ChatTurn, mind: Mind, for_upstream: Callable[[bytes], bytes]
    ) -> ChatCaller:
        """Upstream, preferably the account whose reasoning came last."""

        def body_for(account_id: str) -> bytes:
            foreign = mind.foreign(chat.thoughts, account_id)
            return for_upstream(chat.body(without=foreign)) if foreign else turn.body

        owners = [owner for thought in chat.thoughts if (owner := mind.owner_of(thought))]
        return ChatCaller(
            self._turns.upstream,
            body_for,
            owner=owners[-1] if owners else "",
            event_bytes_max=self._turns.limits.event_bytes_max,
        )


class Mind:
    """What is remembered for one API key."""

    def __init__(self, thoughts: MemoryThoughts, api_key_id: str) -> None:
        self._thoughts = thoughts
        self._api_key_id = api_key_id

    def recall(self, call_ids: Sequence[str]) -> list[Thought]:
        """The reasoning before these calls."""
        items = self._thoughts.before(self._api_key_id, call_ids)
        return [msgspec.json.decode(item, type=Thought) for item in items]

    def keep(self, account_id: str, call_ids: Sequence[str], thoughts: Sequence[Thought]) -> None:
        """Remembers what an account thought before these calls."""
        sealed = [Sealed(thought.encrypted_content, msgspec.json.encode(thought)) for thought in thoughts]
        self._thoughts.remember(account_id, self._api_key_id, call_ids, sealed)

    def owner_of(self, thought: Thought) -> str:
        """The account that can read it, empty when it is not known."""
        return self._thoughts.owner_of(thought.encrypted_content)

    def foreign(self, thoughts: Sequence[Thought], account_id: str) -> list[Thought]:
        """Those that are known to be another account's: upstream would refuse the whole request for them."""
        return [thought for thought in thoughts if self.owner_of(thought) not in ("", account_id)]


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
