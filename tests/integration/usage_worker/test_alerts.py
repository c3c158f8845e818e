"""Telling of an alert: one request, bounded, to the address that was set up and to no other."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from codex_lb.usage_worker.alerts import AlertSender
from codex_lb.usage_worker.app import open_http
from codex_lb.usage_worker.work import Failure, Post, Told
from tests.support.webhook import Receiver, start_receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Somebody who is told."""
    async with start_receiver() as listening:
        yield listening


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """The worker's own client."""
    async with open_http() as client:
        yield client


async def test_what_control_made_is_posted_as_it_is(http: httpx.AsyncClient, receiver: Receiver) -> None:
    told = await AlertSender(http).send(Post(f"{receiver.url}/hook", {"x-codex-lb-signature": "t=1,v1=2"}, b'{"a":1}'))

    assert told == Told(200)
    [(path, headers, body)] = receiver.posts
    assert (path, headers["x-codex-lb-signature"], body) == ("/hook", "t=1,v1=2", b'{"a":1}')


@pytest.mark.parametrize(
    ("status", "is_transient"), [(302, False), (400, False), (404, False), (429, True), (500, True), (503, True)]
)
async def test_what_is_refused_is_tried_again_where_that_may_help(
    http: httpx.AsyncClient,
    receiver: Receiver,
    status: int,
    is_transient: bool,
) -> None:
    receiver.status, receiver.headers = status, {"location": f"{receiver.url}/elsewhere"}

    failure = await AlertSender(http).send(Post(f"{receiver.url}/hook", {}, b"{}"))

    assert isinstance(failure, Failure)
    assert (failure.status, failure.is_transient) == (status, is_transient)
    assert [path for path, _, _ in receiver.posts] == ["/hook"], "redirects are not followed"
    assert receiver.url not in failure.message


@pytest.mark.parametrize("url", ["file:///etc/passwd", "gopher://host/", "http://", "no address", "http://[::1"])
async def test_an_address_of_another_kind_is_not_tried(http: httpx.AsyncClient, url: str) -> None:
    failure = await AlertSender(http).send(Post(url, {}, b"{}"))

    assert isinstance(failure, Failure)
    assert not failure.is_transient
    assert await AlertSender(http).send(None) == failure


async def test_nobody_there_is_worth_another_try(http: httpx.AsyncClient) -> None:
    failure = await AlertSender(http).send(Post("http://127.0.0.1:1/token", {}, b"{}"))

    assert isinstance(failure, Failure)
    assert failure.is_transient
    assert "token" not in failure.message
