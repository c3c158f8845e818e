"""One exchange with upstream or the issuer: bounded in time and size, and every way to fail given its name."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
import httpx

from codex_lb.kit.ids import new_id
from codex_lb.usage_worker import faults
from codex_lb.usage_worker.work import Credential, Failure


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, whatever its status."""

    status: int
    body: bytes = field(repr=False)

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


async def exchange(
    http: httpx.AsyncClient, request: httpx.Request, *, when: str, within_s: float, body_bytes_max: int
) -> Answer | Failure:
    """Sends the request once and reads the answer. Errors of the transport are named by their type, never quoted."""
    try:
        with anyio.fail_after(within_s):
            response = await http.send(request, stream=True)
            try:
                return await _whole(response, when=when, body_bytes_max=body_bytes_max)
            finally:
                await response.aclose()
    except (TimeoutError, httpx.TimeoutException):
        return faults.timed_out(when=when, after_s=within_s)
    except httpx.ConnectError as error:
        return faults.connect_failure(when=when, kind=type(error).__name__)
    except httpx.HTTPError as error:
        return faults.transport_failure(when=when, kind=type(error).__name__)


def account_headers(credential: Credential) -> dict[str, str]:
    """What upstream wants to see of an account on its small endpoints."""
    headers = {
        "authorization": f"Bearer {credential.access_token}",
        "accept": "application/json",
        "x-request-id": new_id("req"),
    }
    if credential.chatgpt_account_id:
        headers["chatgpt-account-id"] = credential.chatgpt_account_id
    return headers


async def _whole(response: httpx.Response, *, when: str, body_bytes_max: int) -> Answer | Failure:
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > body_bytes_max:
            return faults.too_large(when=when, status=response.status_code, bytes_max=body_bytes_max)
    return Answer(response.status_code, bytes(body))
