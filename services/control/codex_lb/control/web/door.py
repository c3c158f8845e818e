"""What servers are given of control's web face: what stands behind the door comes and goes with control."""

from __future__ import annotations

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.control.web.connect import PREFIX
from codex_lb.control.web.refusals import failed
from codex_lb.control.web.security import with_security_headers
from codex_lb.kit.rpc_errors import RpcFailure

RETRY_AFTER_S = 2.0
AWAY = "Control is starting, or stopping. Try again in a few seconds."


class Door:
    """An ASGI app; closed, it answers 503."""

    def __init__(self) -> None:
        self._open: ASGIApp | None = None

    def open(self, app: ASGIApp) -> None:
        """From now on this answers."""
        self._open = app

    def close(self) -> None:
        """From now on nobody does."""
        self._open = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        await (self._open or closed)(scope, receive, send)


@with_security_headers
async def closed(scope: Scope, receive: Receive, send: Send) -> None:
    """Says that it will open."""
    answer: Response
    if scope["path"].startswith(PREFIX):
        answer = failed(RpcFailure(reasons_pb2.ERROR_REASON_DRAINING, AWAY, retry_after_s=RETRY_AFTER_S))
    else:
        answer = PlainTextResponse(AWAY, 503, {"retry-after": f"{RETRY_AFTER_S:.0f}"})
    await answer(scope, receive, send)
