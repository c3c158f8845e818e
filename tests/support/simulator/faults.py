"""How upstream says no: status, headers and body of each refusal. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

import msgspec

from tests.support.simulator.prompts import JsonObject
from tests.support.simulator.steps import (
    Deactivated,
    Html,
    Http,
    Limit,
    Overloaded,
    RateLimited,
    Refusal,
    Unauthorized,
)

_PAGE: Final = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>Error {0}</h1>cloudflare</body></html>"


@dataclass(frozen=True, slots=True)
class Fault:
    """A refusal, ready for HTTP; over a WebSocket only its error travels."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    error: JsonObject = field(default_factory=dict)
    content_type: str = "application/json"

    def with_headers(self, headers: Mapping[str, str]) -> "Fault":
        """The same, with more headers."""
        return replace(self, headers={**headers, **self.headers})


class RefusedError(Exception):
    """The request ends here, with this fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.status)
        self.fault = fault


def of_step(end: Refusal, *, plan: str, now: int) -> Fault:
    """The fault that a scripted refusal stands for."""
    match end:
        case Limit(resets_in_s=seconds):
            return limit(plan=plan, resets_at=now + seconds, now=now)
        case RateLimited(retry_after_s=seconds):
            text = f"Rate limit reached. Please try again in {seconds}s."
            return error(
                429, text, "rate_limit_exceeded", kind="rate_limit_error", headers={"retry-after": str(seconds)}
            )
        case Unauthorized():
            return unauthorized()
        case Deactivated():
            text = "Your OpenAI account has been deactivated, please check your email for more information."
            return error(401, text, "account_deactivated")
        case Overloaded():
            text = "Our servers are currently overloaded. Please try again later."
            return error(503, text, "server_is_overloaded", kind="service_unavailable_error")
        case Http(status=status, code=code):
            kind = "server_error" if status >= 500 else "invalid_request_error"
            return error(status, f"simulated answer {status}", code, kind=kind)
        case Html(status=status):
            page = _PAGE.format(status).encode()
            headers = {"cf-ray": "simulated-ray", "server": "cloudflare"}
            return Fault(status, page, headers, {"message": f"simulated page {status}"}, "text/html; charset=UTF-8")
        case _:
            assert_never(end)


def limit(*, plan: str, resets_at: int, now: int) -> Fault:
    """The account's window is spent."""
    body: JsonObject = {
        "type": "usage_limit_reached",
        "message": "The usage limit has been reached",
        "plan_type": plan,
        "resets_at": resets_at,
        "resets_in_seconds": max(0, resets_at - now),
    }
    return _of_error(429, body, {})


def unauthorized(code: str = "token_expired") -> Fault:
    """The access token is not, or no longer, good."""
    return error(401, "Provided authentication token is expired. Please try signing in again.", code)


def previous_response_not_found(response_id: object) -> Fault:
    """Nobody here remembers the response that the request builds on."""
    text = f"Previous response with id '{response_id}' not found."
    return error(400, text, "previous_response_not_found", param="previous_response_id")


def invalid_encrypted_content(ciphertext: str) -> Fault:
    """Ciphertext made for somebody else."""
    text = (
        f"The encrypted content {ciphertext[:7]}... could not be verified. "
        "Reason: Encrypted content could not be decrypted or parsed."
    )
    return error(400, text, "invalid_encrypted_content")


def detail(text: str, status: int = 400) -> Fault:
    """The short form: what the backend's own checks answer."""
    body: JsonObject = {"detail": text}
    return Fault(status, msgspec.json.encode(body), error={"message": text, "type": "invalid_request_error"})


def error(
    status: int,
    message: str,
    code: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Fault:
    """The long form: an error with a code."""
    return _of_error(status, {"message": message, "type": kind, "param": param, "code": code}, headers or {})


def _of_error(status: int, body: JsonObject, headers: Mapping[str, str]) -> Fault:
    return Fault(status, msgspec.json.encode({"error": body}), headers, body)
