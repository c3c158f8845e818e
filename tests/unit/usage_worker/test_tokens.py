"""The refresh grant: what is sent, what an answer means, and that no token is ever told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import pytest

from codex_lb.kit.clock import Clock
from codex_lb.usage_worker.tokens import KEPT_S, TokenIssuer
from codex_lb.usage_worker.work import Failure, TokensRotated

OLD = "rt_old-secret"
Answer = Callable[[httpx.Request], httpx.Response]


class StoodStill:
    """A clock that is moved by hand."""

    seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


@asynccontextmanager
async def issuer_that(answer: Answer, clock: Clock | None = None) -> AsyncIterator[TokenIssuer]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        yield TokenIssuer(
            http, clock or StoodStill(), auth_base_url="https://auth.example/", client_id="app_x", timeout_s=5.0
        )


async def rotate(answer: Answer) -> TokensRotated | Failure:
    async with issuer_that(answer) as issuer:
        return await issuer.rotate(OLD)


class Rotating:
    """An issuer that gives another pair each time it is asked, and counts."""

    asked = 0

    def __call__(self, _request: httpx.Request) -> httpx.Response:
        self.asked += 1
        return httpx.Response(200, json={"access_token": f"at{self.asked}", "refresh_token": "rt", "id_token": "it"})


async def test_the_grant_is_sent_as_json_to_the_issuers_token_endpoint() -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"access_token": "at", "refresh_token": "rt", "id_token": "it"})

    assert await rotate(answer) == TokensRotated("at", "rt", "it")
    [request] = sent
    assert (request.method, str(request.url)) == ("POST", "https://auth.example/oauth/token")
    assert json.loads(request.content) == {
        "grant_type": "refresh_token",
        "client_id": "app_x",
        "refresh_token": OLD,
        "scope": "openid profile email",
    }


async def test_an_issuer_that_sends_no_refresh_token_leaves_the_old_one_in_force() -> None:
    assert await rotate(lambda _: httpx.Response(200, json={"access_token": "at"})) == TokensRotated("at", OLD, "")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"refresh_token":"rt_new"}', b'{"access_token":""}', b'{"access_token":7}']
)
async def test_a_success_without_an_access_token_is_unreadable(body: bytes) -> None:
    failure = await rotate(lambda _: httpx.Response(200, content=body))

    assert isinstance(failure, Failure)
    assert (failure.code, failure.status, failure.is_transient) == ("invalid_response", 200, True)


@pytest.mark.parametrize(
    ("body", "code", "is_transient"),
    [
        ({"error": "invalid_grant", "error_description": f"{OLD} is spent"}, "invalid_grant", False),
        ({"error": {"code": "refresh_token_reused", "message": OLD}}, "refresh_token_reused", False),
        ({"error": {"code": "account_suspended"}}, "account_suspended", False),
        ({"error": "temporarily_unavailable"}, "temporarily_unavailable", True),
        ({"error_description": OLD}, "http_400", True),
    ],
)
async def test_a_refusal_keeps_the_issuers_code_and_none_of_its_text(
    body: object, code: str, is_transient: bool
) -> None:
    failure = await rotate(lambda _: httpx.Response(400, json=body))

    assert isinstance(failure, Failure)
    assert (failure.code, failure.status, failure.is_transient) == (code, 400, is_transient)
    assert OLD not in failure.message


async def test_a_redirect_is_not_followed_with_the_token() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(302, headers={"location": "https://elsewhere.example/"})

    failure = await rotate(answer)

    assert isinstance(failure, Failure)
    assert failure.code == "http_302"
    assert asked == ["https://auth.example/oauth/token"]


async def test_a_token_that_was_traded_is_answered_with_its_pair_until_control_has_it() -> None:
    answer = Rotating()

    async with issuer_that(answer) as issuer:
        first, again = await issuer.rotate(OLD), await issuer.rotate(OLD)
        issuer.forget(OLD)
        afterwards = await issuer.rotate(OLD)

    assert first == again == TokensRotated("at1", "rt", "it")
    assert afterwards == TokensRotated("at2", "rt", "it")


async def test_a_pair_that_nobody_wants_is_not_kept_for_ever() -> None:
    answer, clock = Rotating(), StoodStill()

    async with issuer_that(answer, clock) as issuer:
        await issuer.rotate(OLD)
        clock.seconds += KEPT_S
        await issuer.rotate(OLD)

    assert answer.asked == 2


async def test_a_failure_is_not_kept() -> None:
    answers = iter([httpx.Response(503), httpx.Response(200, json={"access_token": "at"})])

    async with issuer_that(lambda _: next(answers)) as issuer:
        first, second = await issuer.rotate(OLD), await issuer.rotate(OLD)

    assert isinstance(first, Failure)
    assert isinstance(second, TokensRotated)


async def test_an_error_of_the_transport_is_named_and_not_quoted() -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        raise httpx.LocalProtocolError(f"Illegal header value {OLD!r}")

    failure = await rotate(answer)

    assert isinstance(failure, Failure)
    assert (failure.code, failure.is_transient) == ("transport_error", True)
    assert failure.message == "rotating tokens: the connection failed (LocalProtocolError)"
