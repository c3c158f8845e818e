"""A small call takes no longer and brings no more than it may; polling stops when it must."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from codex_lb.gateway.errors import UpstreamFailedError
from codex_lb.gateway.ingress.body import ClientGoneError
from codex_lb.gateway.leasing.lease import Work
from codex_lb.gateway.turn.forward import Errand, Forwards, Origin, Poll
from codex_lb.gateway.upstream.opening import open_http
from codex_lb.kit.clock import SystemClock
from tests.support.pair import Pair
from tests.support.upstream import hang_headers

SEARCH = Errand(
    work=Work.CODEX_CONTROL,
    method="POST",
    path="/codex/alpha/search",
    headers=(),
    accept="*/*",
    content_type="",
    body=b"words",
    budget_s=30.0,
    answer_bytes_max=2**20,
)


def origin() -> Origin:
    return Origin("turn_of_the_test", SystemClock().monotonic(), datetime.now(UTC), "/x", "", "", "", "", 5)


async def stays() -> None:
    await asyncio.Event().wait()


async def leaves() -> None:
    """At once."""


@pytest.fixture
async def forwards(pair: Pair) -> AsyncIterator[Forwards]:
    async with open_http(pair.upstream.chatgpt_url, connect_timeout_s=5) as upstream:
        yield Forwards(pair.gateway.leases, upstream, SystemClock(), lease_wait_s=1)


async def test_a_call_that_takes_too_long_is_given_up(pair: Pair, forwards: Forwards) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=hang_headers(), kind="codex_control")

    with pytest.raises(UpstreamFailedError, match="budget exhausted") as failed:
        await forwards.run(replace(SEARCH, budget_s=0.3), origin(), stays)

    assert failed.value.code == "upstream_request_timeout"
    await pair.settled()


async def test_an_answer_beyond_its_bound_is_none(pair: Pair, forwards: Forwards) -> None:
    await pair.add("a")

    with pytest.raises(UpstreamFailedError, match="larger than 10 bytes"):
        await forwards.run(replace(SEARCH, answer_bytes_max=10), origin(), stays)

    await pair.settled()


async def test_nobody_is_answered_who_left(pair: Pair, forwards: Forwards) -> None:
    await pair.add("a")

    with pytest.raises(ClientGoneError):
        await forwards.run(SEARCH, origin(), leaves)

    await pair.settled()


async def test_polling_stops_in_time_and_the_last_answer_stands(pair: Pair, forwards: Forwards) -> None:
    await pair.add("a", "b")
    poll = Poll(lambda _body: True, every_s=0.02, within_s=0.2)

    answer = await forwards.run(replace(SEARCH, poll=poll), origin(), stays)

    rows = await pair.upstream.log("codex_control")
    assert answer.body == rows[-1].answer
    assert 2 <= len(rows) <= 12
    assert len({row.account for row in rows}) == 1
    await pair.settled()


async def test_a_gateway_that_drains_takes_no_small_call(pair: Pair) -> None:
    pair.gateway.drain()

    for path in ("/backend-api/codex/alpha/search", "/v1/images/generations", "/v1/responses/compact"):
        refused = await pair.client.post(path, json={})

        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
