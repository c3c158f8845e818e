"""Sends one small turn on an account, to see whether it serves."""

from __future__ import annotations

from dataclasses import replace

import httpx
import msgspec

from codex_lb.kit.clock import Clock
from codex_lb.usage_worker.probe_answer import parse_probe
from codex_lb.usage_worker.upstream import Answer, account_headers, exchange
from codex_lb.usage_worker.work import Credential, Failure, Probed

WHEN = "probing"
WITHIN_S = 30.0  # a model that thinks before it says "OK" needs a few seconds; a person waits for this
BODY_BYTES_MAX = 2**20  # the whole stream is some 10 KiB


class Prober:
    """Asks a model for one word. It costs the account as little as a turn can."""

    def __init__(self, http: httpx.AsyncClient, clock: Clock, *, upstream_base_url: str) -> None:
        self.timeout_s = WITHIN_S
        self._http = http
        self._clock = clock
        self._url = f"{upstream_base_url.rstrip('/')}/codex/responses"

    async def probe(self, credential: Credential, model: str) -> Probed:
        """How it ended. Sent once: another try would say no more, and a person can ask again."""
        began_at = self._clock.monotonic()
        headers = {
            **account_headers(credential),
            "accept": "text/event-stream",
            "content-type": "application/json",
        }
        request = self._http.build_request("POST", self._url, content=turn(model), headers=headers)
        answer = await exchange(self._http, request, when=WHEN, within_s=self.timeout_s, body_bytes_max=BODY_BYTES_MAX)
        took_s = self._clock.monotonic() - began_at
        match answer:
            case Failure(code=code, status=status, message=message):
                return Probed(is_served=False, status=status, code=code, message=message, took_s=took_s)
            case Answer():
                probed = parse_probe(answer.status, answer.body, when=WHEN, now=self._clock.now())
                return replace(probed, took_s=took_s)


def turn(model: str) -> bytes:
    """The smallest turn that upstream takes."""
    return msgspec.json.encode(
        {
            "model": model,
            "instructions": "Answer with the word OK.",
            "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "ping"}]}],
            "stream": True,
            "store": False,
        }
    )
