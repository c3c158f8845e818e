"""What the gateway tells a client when it has no answer, and the one table that gives each its wire form.

Shapes follow data-plane reference 1.2 and 4.10; what each client does with them, clients reference 5 to 8.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from codex_lb.gateway.outcome import Fault

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what reading JSON raises
OWNER_RETRY_AFTER_S_MAX = 30.0
RETRY_AFTER_S = 5  # for our own overload: long enough to matter, short enough not to be noticed


class GatewayError(Exception):
    """Anything the gateway tells a client. Subclasses say what happened; the text is for the client's user."""

    status = 500
    code = "server_error"
    type = "server_error"
    param: str | None = None
    retry_after_s: float | None = None
    resets_at: datetime | None = None
    plan = ""


class InvalidRequestError(GatewayError):
    """The request cannot be used as it is. Final for every client."""

    status, code, type = 400, "invalid_request_error", "invalid_request_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code or type(self).code


class BodyTooLargeError(InvalidRequestError):
    """413, but 400 on the Responses routes: Codex sends a refused 413 again five times (clients reference 5)."""

    def __init__(self, *, status: int) -> None:
        super().__init__("Request body exceeds the maximum allowed size", code="payload_too_large")
        self.status = status


class UnauthenticatedError(GatewayError):
    """The caller did not show who it is."""

    status, code, type = 401, "invalid_api_key", "authentication_error"


class MissingKeyError(UnauthenticatedError):
    """Keys are asked for, and none was sent."""


class WrongKeyError(UnauthenticatedError):
    """A key was sent that does not work (any more)."""


class TooManyFailuresError(GatewayError):
    """Wrong keys keep coming from one address."""

    status, code, type = 429, "too_many_failed_attempts", "rate_limit_error"

    def __init__(self, *, retry_after_s: float) -> None:
        super().__init__("Too many requests with a wrong API key. Check the key that your client sends.")
        self.retry_after_s = max(1.0, retry_after_s)


class ForbiddenAddressError(GatewayError):
    """The client's address is none of those that may talk to the product."""

    status, code, type = 403, "ip_forbidden", "access_error"


class ForbiddenError(GatewayError):
    """The caller may not do this."""

    status, code, type = 403, "insufficient_permissions", "permission_error"


class NotFoundError(GatewayError):
    """No such path."""

    status, code, type = 404, "not_found", "invalid_request_error"


class MethodNotAllowedError(GatewayError):
    """The path exists, the method does not."""

    status, code, type = 405, "method_not_allowed", "invalid_request_error"


class HttpInsteadError(GatewayError):
    """No WebSockets here: Codex goes on by HTTP at once and without a word."""

    status, code, type = 426, "websocket_not_offered", "invalid_request_error"


class PoolExhaustedError(GatewayError):
    """Every account is out of quota. Codex and OpenClaw show this at once and do not retry."""

    status, code, type = 429, "usage_limit_reached", "usage_limit_reached"

    def __init__(self, message: str, *, resets_at: datetime | None, plan: str = "") -> None:
        super().__init__(message)
        self.resets_at = resets_at
        self.plan = plan


class PoolBusyError(GatewayError):
    """Every slot stayed taken for as long as the turn could wait."""

    status, code, type = 429, "account_stream_cap", "rate_limit_error"

    def __init__(self, message: str, *, retry_at: datetime | None = None) -> None:
        super().__init__(message)
        left_s = RETRY_AFTER_S if retry_at is None else (retry_at - datetime.now(UTC)).total_seconds()
        self.retry_after_s = max(1.0, left_s)


class KeyLimitReachedError(GatewayError):
    """A limit of the API key is used up, or reserved by turns that run (data-plane reference 6.4).

    With `resets_at` it is used up, which is final for Codex only by this type: any other 429 it would send again, after
    a Retry-After of days in silence.
    """

    status, code, type = 429, "rate_limit_exceeded", "rate_limit_error"

    def __init__(self, message: str, *, retry_at: datetime | None, resets_at: datetime | None = None) -> None:
        super().__init__(message)
        self.resets_at = resets_at
        if resets_at is not None:
            self.type = "usage_limit_reached"
        left_s = RETRY_AFTER_S if retry_at is None else (retry_at - datetime.now(UTC)).total_seconds()
        self.retry_after_s = max(1.0, left_s)


class RateLimitedError(GatewayError):
    """Accounts are out of quota, but not all are known to be: trying again may help."""

    status, code, type = 429, "rate_limit_exceeded", "rate_limit_error"

    def __init__(self, message: str, *, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.retry_after_s = 1.0 if retry_after_s is None else retry_after_s


class OwnerUnavailableError(GatewayError):
    """The one account that can read what the turn refers to cannot serve now. Retryable, with a time if one is known."""

    status, code, type = 503, "previous_response_owner_unavailable", "server_error"

    def __init__(self, message: str, *, retry_at: datetime | None) -> None:
        super().__init__(message)
        left_s = RETRY_AFTER_S if retry_at is None else (retry_at - datetime.now(UTC)).total_seconds()
        self.retry_after_s = min(OWNER_RETRY_AFTER_S_MAX, max(1.0, left_s))  # Codex would wait for hours without a word


class NoAccountError(GatewayError):
    """Nobody can serve, and no quota of the pool's is the reason."""

    status, code, type = 503, "no_accounts", "server_error"
    retry_after_s = RETRY_AFTER_S


class ModelNotOfferedError(GatewayError):
    """No plan in the pool has the model."""

    status, code, type = 400, "model_not_found", "invalid_request_error"
    param = "model"


class ControlUnavailableError(GatewayError):
    """The control plane could not be asked in time."""

    status, code, type = 503, "control_unavailable", "server_error"
    retry_after_s = RETRY_AFTER_S


class DrainingError(GatewayError):
    """This replica accepts nothing new."""

    status, code, type = 503, "service_unavailable", "service_unavailable"
    retry_after_s = RETRY_AFTER_S


class UpstreamFailedError(GatewayError):
    """Upstream failed on every attempt; `fault` is the last one."""

    status, code, type = 502, "upstream_error", "server_error"

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message or "Upstream error")
        self.fault = fault
        self.code = fault.code
        self.retry_after_s = fault.retry_after_s
        if fault.status >= 500:
            self.status = fault.status


class UpstreamRefusedError(GatewayError):
    """Upstream's refusal concerns the request itself and is passed on as it came."""

    status, code, type = 400, "invalid_request_error", "invalid_request_error"

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault
        self.code = fault.code
        if fault.status:
            self.status = fault.status


def envelope(error: GatewayError) -> bytes:
    """The OpenAI error body."""
    inner: dict[str, object] = {"message": str(error), "type": error.type, "code": error.code}
    if error.param is not None:
        inner["param"] = error.param
    if error.plan:
        inner["plan_type"] = error.plan
    if error.resets_at is not None:
        inner["resets_at"] = int(error.resets_at.timestamp())
        inner["resets_in_seconds"] = max(0, int((error.resets_at - datetime.now(UTC)).total_seconds()))
    return msgspec.json.encode({"error": inner})


def failed_event(*, code: str, message: str, response_id: str) -> bytes:
    """A `response.failed` event: how a stream that has begun says that it will not end well.

    Codex, OpenCode and the AI SDK try again on `server_error` and give up on codes they do not know.
    """
    response: dict[str, object] = {
        "id": response_id,
        "object": "response",
        "status": "failed",
        "output": [],
        "incomplete_details": None,
        "error": {"code": code, "message": message},
    }
    data = msgspec.json.encode({"type": "response.failed", "response": response})
    return b"event: response.failed\ndata: " + data + b"\n\n"
