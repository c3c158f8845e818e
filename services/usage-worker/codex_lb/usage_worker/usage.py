"""Fetches an account's usage from upstream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import httpx

from codex_lb.kit.backoff import Backoff
from codex_lb.kit.clock import Clock
from codex_lb.usage_worker import faults
from codex_lb.usage_worker.upstream import Answer, account_headers, exchange
from codex_lb.usage_worker.usage_payload import UnreadableUsageError, parse_usage
from codex_lb.usage_worker.work import Credential, Failure, UsageFound

WHEN = "fetching usage"
BODY_BYTES_MAX = 2**20  # a payload with every quota seen so far is 4 KiB
PAUSES = Backoff(first_s=0.5, max_s=2.0, jitter=0.0)  # fetches are spread over the period: there is no herd to part


class UsageFetcher:
    """Asks upstream how much of an account is used, again where that may help."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        clock: Clock,
        *,
        upstream_base_url: str,
        timeout_s: float,
        retries_max: int,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.timeout_s = timeout_s
        self._http = http
        self._clock = clock
        self._url = usage_url(upstream_base_url)
        self._retries_max = retries_max
        self._sleep = sleep

    async def fetch(self, credential: Credential) -> UsageFound | Failure:
        """The account's usage, or why it could not be had after the last try."""
        for attempt in range(self._retries_max):
            result = await self._try(credential)
            if not (isinstance(result, Failure) and faults.is_worth_another_try(result)):
                return result
            await self._sleep(PAUSES.delay(attempt, random=0.0))
        return await self._try(credential)

    async def _try(self, credential: Credential) -> UsageFound | Failure:
        request = self._http.build_request("GET", self._url, headers=account_headers(credential))
        answer = await exchange(self._http, request, when=WHEN, within_s=self.timeout_s, body_bytes_max=BODY_BYTES_MAX)
        match answer:
            case Failure():
                return answer
            case Answer(is_success=False):
                return faults.upstream_refusal(answer.status, answer.body, when=WHEN)
            case Answer():
                return self._read(answer)

    def _read(self, answer: Answer) -> UsageFound | Failure:
        try:
            return parse_usage(answer.body, observed_at=self._clock.now())
        except UnreadableUsageError as error:
            return faults.unreadable(when=WHEN, status=answer.status, why=str(error))


def usage_url(upstream_base_url: str) -> str:
    """Usage lives under /backend-api, also for a base that lacks it."""
    base = upstream_base_url.rstrip("/")
    return f"{base}/wham/usage" if "/backend-api" in base else f"{base}/backend-api/wham/usage"
