"""Trades a refresh token for a new pair. A refresh token works once: whatever happens, it is sent once.

Sent twice, it ends the login. So a pair is kept here until control has it: when the report was lost and control hands
the spent token out again, the answer is the pair that it was already traded for.
"""

from __future__ import annotations

import httpx
import msgspec

from codex_lb.kit.clock import Clock
from codex_lb.usage_worker import faults
from codex_lb.usage_worker.upstream import Answer, exchange
from codex_lb.usage_worker.work import Failure, TokensRotated

WHEN = "rotating tokens"
SCOPE = "openid profile email"
BODY_BYTES_MAX = 256 * 2**10  # three tokens of a few KiB each
KEPT_S = 900.0  # longer than a result is offered to control, plus the ticket that comes after it


class TokenIssuer:
    """The issuer's refresh grant."""

    def __init__(
        self, http: httpx.AsyncClient, clock: Clock, *, auth_base_url: str, client_id: str, timeout_s: float
    ) -> None:
        self.timeout_s = timeout_s
        self._http = http
        self._clock = clock
        self._url = f"{auth_base_url.rstrip('/')}/oauth/token"
        self._client_id = client_id
        self._kept: dict[str, tuple[TokensRotated, float]] = {}  # by spent token: the pair, and until when

    async def rotate(self, refresh_token: str) -> TokensRotated | Failure:
        """A new pair, or why there is none; a transient failure leaves open whether the token was spent."""
        kept = self._kept_for(refresh_token)
        if kept is not None:
            return kept
        result = await self._exchange(refresh_token)
        if isinstance(result, TokensRotated):
            self._kept[refresh_token] = (result, self._clock.monotonic() + KEPT_S)
        return result

    def forget(self, refresh_token: str) -> None:
        """Control has the pair that this token was traded for."""
        self._kept.pop(refresh_token, None)

    def _kept_for(self, refresh_token: str) -> TokensRotated | None:
        now = self._clock.monotonic()
        self._kept = {spent: (pair, until) for spent, (pair, until) in self._kept.items() if until > now}
        pair, _ = self._kept.get(refresh_token, (None, 0.0))
        return pair

    async def _exchange(self, refresh_token: str) -> TokensRotated | Failure:
        grant = {
            "grant_type": "refresh_token",
            "client_id": self._client_id,
            "refresh_token": refresh_token,
            "scope": SCOPE,
        }
        request = self._http.build_request("POST", self._url, json=grant, headers={"accept": "application/json"})
        answer = await exchange(self._http, request, when=WHEN, within_s=self.timeout_s, body_bytes_max=BODY_BYTES_MAX)
        match answer:
            case Failure():
                return answer
            case Answer(is_success=False):
                return faults.grant_refusal(answer.status, answer.body, when=WHEN)
            case Answer():
                return _pair(answer, refresh_token)


class _Grant(msgspec.Struct):
    access_token: str
    refresh_token: str | None = None
    id_token: str | None = None


def _pair(answer: Answer, refresh_token: str) -> TokensRotated | Failure:
    try:
        grant = msgspec.json.decode(answer.body, type=_Grant)
    except (ValueError, RecursionError):
        return faults.unreadable(when=WHEN, status=answer.status, why="there is no access_token in it")
    if not grant.access_token:
        return faults.unreadable(when=WHEN, status=answer.status, why="its access_token is empty")
    # An issuer that sends no refresh token leaves the old one in force (RFC 6749, section 6).
    return TokensRotated(grant.access_token, grant.refresh_token or refresh_token, grant.id_token or "")
