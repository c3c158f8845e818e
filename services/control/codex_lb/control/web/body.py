"""Bodies of requests: JSON, whole, and within bounds of size and time."""

from __future__ import annotations

import anyio
from grpc import StatusCode
from starlette.requests import Request

from codex_lb.control.web.connect_wire import JSON
from codex_lb.control.web.refusals import RefusedError

BODY_WITHIN_S = 30.0


def check_json(request: Request) -> None:
    """Raises RefusedError for a body that is something else. A page of another site can send no JSON unasked."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise RefusedError(415, StatusCode.UNIMPLEMENTED, f"Only {JSON} is understood here.", accept_post=JSON)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError(
            501, StatusCode.UNIMPLEMENTED, "Packed bodies are not understood.", accept_encoding="identity"
        )


async def read_body(request: Request, *, bytes_max: int) -> bytes:
    """Raises RefusedError, and ClientDisconnect."""
    parts: list[bytes] = []
    left = bytes_max
    with anyio.move_on_after(BODY_WITHIN_S):
        async for part in request.stream():
            left -= len(part)
            if left < 0:
                raise RefusedError(429, StatusCode.RESOURCE_EXHAUSTED, f"The body is larger than {bytes_max} bytes.")
            parts.append(part)
        return b"".join(parts)
    raise RefusedError(408, StatusCode.DEADLINE_EXCEEDED, f"The body did not come within {BODY_WITHIN_S:.0f} seconds.")
