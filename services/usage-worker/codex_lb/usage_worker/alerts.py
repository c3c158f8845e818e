"""Tells somebody of an alert: one bounded request to an address that an operator set up."""

from __future__ import annotations

import httpx

from codex_lb.usage_worker import faults
from codex_lb.usage_worker.upstream import Answer, exchange
from codex_lb.usage_worker.work import Failure, Post, Told

WHEN = "telling of an alert"
WITHIN_S = 10.0  # chat services answer within one
BODY_BYTES_MAX = 64 * 2**10  # of an answer that nobody reads
SCHEMES = ("http", "https")


class AlertSender:
    """Sends what control made. Redirects are not followed: only the address that was set up is meant."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.timeout_s = WITHIN_S
        self._http = http

    async def send(self, post: Post | None) -> Told | Failure:
        """Sends it once; control says when it is tried again."""
        try:
            request = (
                self._http.build_request("POST", post.url, content=post.body, headers=post.headers) if post else None
            )
        except (httpx.InvalidURL, ValueError):
            request = None
        if request is None or request.url.scheme not in SCHEMES:
            return faults.unusable_address(when=WHEN)
        answer = await exchange(self._http, request, when=WHEN, within_s=self.timeout_s, body_bytes_max=BODY_BYTES_MAX)
        match answer:
            case Answer(status=status) if answer.is_success:
                return Told(status)
            case Answer(status=status):
                return faults.alert_refusal(status, when=WHEN)
            case failure:
                return failure
