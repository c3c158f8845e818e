"""Gives a turn's answer as an object of another API, made of the finished response."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Send

from codex_lb.gateway.turn.delivery import JsonDelivery
from codex_lb.gateway.upstream.headers import RawHeader

Shape = Callable[[bytes], bytes]  # raises GatewayError when the response is not what it should be


class ShapedDelivery(JsonDelivery):
    """One object, sent when it is whole."""

    def __init__(self, send: Send, own_headers: list[RawHeader], shape: Shape) -> None:
        super().__init__(send, own_headers, model_is_as_asked=False)
        self._shape = shape

    async def end(self) -> None:
        if self._response:
            self._response = self._shape(self._response)
        await super().end()
