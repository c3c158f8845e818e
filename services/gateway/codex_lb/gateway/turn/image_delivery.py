"""Gives a turn's answer as a stream of the Images API: the image as it takes shape, and when it is done."""

from __future__ import annotations

from contextlib import suppress

import msgspec
from starlette.types import Send

from codex_lb.gateway.errors import GatewayError
from codex_lb.gateway.translate.fold import Fold
from codex_lb.gateway.translate.images import DONE, ImageFailedError, completed_event, error_event, partial_event
from codex_lb.gateway.turn.delivery import Dialect, SseDelivery
from codex_lb.gateway.turn.meter import read_error_event, read_terminal
from codex_lb.gateway.turn.sse import Kind, Segment, frames_of_segment
from codex_lb.gateway.upstream.headers import Header, RawHeader


class ImageStreamDelivery(SseDelivery):
    """Nothing is visible before the first image, so until then the turn may move."""

    def __init__(self, send: Send, own_headers: list[RawHeader], events: str, *, created: int) -> None:
        super().__init__(send, Dialect.PUBLIC, own_headers, model_is_as_asked=False)
        self._events = events
        self._created = created
        self._response = b""
        self._has_failed = False

    def begin(self, headers: list[Header], account_id: str) -> None:
        super().begin(headers, account_id)
        self._fold = Fold()
        self._response = b""

    async def take(self, segment: Segment) -> None:
        match segment.kind:
            case Kind.ITEM_DONE:
                self._fold.add_item(segment.data)
            case Kind.COMPLETED | Kind.INCOMPLETE:
                with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    self._response = self._fold.response(segment.data)
            case Kind.FAILED | Kind.ERROR:
                await self.fail(ImageFailedError(_words(segment)))
            case Kind.ORDINARY:
                for frame in frames_of_segment(segment):
                    if event := partial_event(frame, self._events, created=self._created):
                        self._is_visible = True
                        await self._write(event)
            case _:
                pass

    async def end(self) -> None:
        if self._has_failed:
            return
        await self._write(completed_event(self._response, self._events, created=self._created))
        await self._finish()

    async def fail(self, error: GatewayError) -> bool:
        if not self.status:
            return False
        self._has_failed = True
        await self._write(error_event(error))
        await self._finish()
        return True

    async def pass_on(self, withheld: list[Segment]) -> bool:  # noqa: ARG002 - our own error says it
        return False

    async def _finish(self) -> None:
        await self._write(DONE)
        await super().end()


def _words(segment: Segment) -> str:
    """What upstream says of its failure."""
    data = segment.data
    error = read_terminal(data).error if segment.kind is Kind.FAILED else read_error_event(data)
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else ""
