"""POST …/images/generations, …/images/edits and …/images/variations (data-plane reference 1.16)."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto
from functools import partial

from starlette.types import Receive, Scope, Send

from codex_lb.gateway.errors import DrainingError, GatewayError, InvalidRequestError, NotFoundError
from codex_lb.gateway.ingress.body import ClientGoneError
from codex_lb.gateway.ingress.hang_up import hang_up_of
from codex_lb.gateway.ingress.multipart import FormBounds
from codex_lb.gateway.routes.gate import Admitted, Gate, answer_headers
from codex_lb.gateway.routes.reading import Asked, Received, receive_request, turn_of
from codex_lb.gateway.routes.replies import reply_error
from codex_lb.gateway.routes.transcribe import form_of
from codex_lb.gateway.translate.images import (
    HOST_MODEL,
    IMAGES_MAX,
    ImageRequest,
    edit_of_form,
    image_answer,
    read_edit,
    read_generation,
    turn_body,
)
from codex_lb.gateway.turn.context import TurnRequest
from codex_lb.gateway.turn.image_delivery import ImageStreamDelivery
from codex_lb.gateway.turn.shaped_delivery import ShapedDelivery
from codex_lb.gateway.turn.turn import Turns
from codex_lb.kit.clock import Clock
from codex_lb.kit.ids import new_id

OVERSIZE_STATUS = 413
EDIT_BODY_BYTES_MAX = 64 * 2**20
EDIT_BOUNDS = FormBounds(
    fields_max=32, field_bytes_max=256 * 2**10, files_max=IMAGES_MAX + 1, files_bytes_max=49_999_999
)
IMAGE_FIELDS = frozenset({"image", "image[]"})


class ImageRoute(Enum):
    """What the endpoint takes."""

    GENERATION = auto()
    EDIT_FORM = auto()
    EDIT_JSON = auto()


class Images:
    """One ASGI endpoint."""

    def __init__(
        self, turns: Turns, gate: Gate, clock: Clock, route: ImageRoute, *, default_model: str, body_bytes_max: int
    ) -> None:
        self._turns = turns
        self._gate = gate
        self._clock = clock
        self._route = route
        self._default_model = default_model
        self._body_bytes_max = body_bytes_max if route is ImageRoute.GENERATION else EDIT_BODY_BYTES_MAX
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
            turn, events = await self._read(turn_id, scope, receive, admitted)
            created = int(turn.started_at.timestamp())
            delivery: ImageStreamDelivery | ShapedDelivery
            if events:
                delivery = ImageStreamDelivery(send, own_headers, events, created=created)
            else:
                delivery = ShapedDelivery(send, own_headers, partial(image_answer, created=created))
            await self._turns.run(turn, delivery, hang_up_of(receive))
        except GatewayError as error:
            await reply_error(send, error, own_headers)
        except ClientGoneError:
            return

    async def _read(self, turn_id: str, scope: Scope, receive: Receive, admitted: Admitted) -> tuple[TurnRequest, str]:
        """The request as a turn, and what its events begin with, empty when it is to be answered whole."""
        received = await receive_request(
            scope, receive, self._clock, body_bytes_max=self._body_bytes_max, too_large_status=OVERSIZE_STATUS
        )
        request = self._request(received)
        asked = Asked(request.model, "", "")
        turn = turn_of(received, admitted, asked, turn_id=turn_id, body=turn_body(request))
        return replace(turn, model=HOST_MODEL), request.events if request.is_streamed else ""

    def _request(self, received: Received) -> ImageRequest:
        match self._route:
            case ImageRoute.GENERATION:
                return read_generation(received.plain, default_model=self._default_model)
            case ImageRoute.EDIT_JSON:
                return read_edit(received.plain, default_model=self._default_model)
            case ImageRoute.EDIT_FORM:
                return read_edit_form(received, default_model=self._default_model)


def read_edit_form(received: Received, *, default_model: str) -> ImageRequest:
    """An edit as a form. Raises InvalidRequestError."""
    fields: dict[str, str] = {}
    images: list[memoryview] = []
    mask: memoryview | None = None
    for part in form_of(received, EDIT_BOUNDS):
        if part.filename is None:
            fields[part.name] = part.text
        elif part.name in IMAGE_FIELDS:
            images.append(part.content)
        elif part.name == "mask" and mask is None:
            mask = part.content
        else:
            raise InvalidRequestError("Unexpected file", param=part.name)
    return edit_of_form(fields, images, mask, default_model=default_model)


class Variations:
    """There is no model left that makes variations."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's shape
        """404, to those who may ask."""
        headers = answer_headers(new_id("req"), None)
        try:
            self._gate.admit(scope)
            error = NotFoundError("Image variations are not supported")
            error.type = "not_found_error"
            await reply_error(send, error, headers)
        except GatewayError as error:
            await reply_error(send, error, headers)
