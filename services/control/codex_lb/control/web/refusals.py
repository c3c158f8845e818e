"""How a refusal looks over HTTP, whichever endpoint refuses: a status, and JSON as the Connect protocol writes it."""

from __future__ import annotations

from collections.abc import Awaitable

from grpc import StatusCode
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from codex_lb.control.web import connect_wire as wire
from codex_lb.kit.rpc_errors import RpcFailure
from codex_lb.kit.rpc_server import unforeseen

CLIENT_LEFT = 499


class RefusedError(Exception):
    """Nothing that a method of ours would say: no call at all, or one that took too long."""

    def __init__(self, status: int, code: StatusCode, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


async def answered(request: Request, answer: Awaitable[Response]) -> Response:
    """The answer to a request, or why there is none."""
    try:
        return await answer
    except RpcFailure as failure:
        return failed(failure)
    except RefusedError as refused:
        body = wire.write_refusal(refused.code, str(refused))
        return Response(body, refused.status, refused.headers, media_type=wire.JSON)
    except ClientDisconnect:
        return Response(status_code=CLIENT_LEFT)
    except Exception as error:
        return failed(unforeseen(error, f"{request.method} {request.scope['path'][:200]}"))


def failed(failure: RpcFailure) -> Response:
    """What control refuses."""
    headers = {} if failure.retry_after_s is None else {"retry-after": str(max(1, round(failure.retry_after_s)))}
    return Response(wire.write_failure(failure), wire.STATUSES[failure.code], headers, media_type=wire.JSON)
