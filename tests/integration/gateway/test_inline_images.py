"""Images are fetched over real TLS sockets; nothing but a public host is ever connected to."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from aiohttp import web

from codex_lb.gateway.ingress.images import FetchImages
from codex_lb.gateway.ingress.inline_images import (
    AT_ONCE_MAX,
    IMAGE_BYTES_MAX,
    IMAGES_MAX,
    open_image_fetcher,
)
from codex_lb.gateway.ingress.public_address import Address
from tests.support.image_host import HOST, PNG, ImageHost, ScriptedNames, start_image_host

PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"
AS_DATA = "data:image/png;base64," + b64encode(PNG).decode()


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[ImageHost]:
    async with start_image_host(tmp_path) as host:
        yield host


def is_public(address: Address) -> bool:
    """The one loopback address that counts as public here."""
    return address == IPv4Address(PUBLIC)


def fetcher(
    host: ImageHost,
    *,
    answers: Sequence[Sequence[str]] = ((PUBLIC,),),
    names: ScriptedNames | None = None,
    within_s: float = 5.0,
) -> AbstractAsyncContextManager[FetchImages]:
    """A fetcher that may fetch from the host's port."""
    return open_image_fetcher(
        [f"{HOST}:{host.port}", f"{PUBLIC}:{host.port}", f"{PRIVATE}:{host.port}"],
        may_connect=is_public,
        resolver=names or ScriptedNames(answers),
        tls=host.trusting,
        within_s=within_s,
    )


async def test_an_image_becomes_a_data_url(host: ImageHost) -> None:
    url = host.serve("/a.png") + "?b=c"

    async with fetcher(host) as fetch:
        assert await fetch([url]) == {url: AS_DATA}

    assert host.connections == [PUBLIC]
    assert host.seen[0].headers["host"] == f"{HOST}:{host.port}"


async def test_nothing_that_identifies_anybody_is_sent(host: ImageHost, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = host.serve("/1.png", set_cookie="a=b; Path=/"), host.serve("/2.png")
    netrc = Path(os.environ.get("TMPDIR", "/tmp")) / "nowhere"
    for name, value in {
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
        "NETRC": str(netrc),
    }.items():
        monkeypatch.setenv(name, value)

    async with fetcher(host) as fetch:
        assert set(await fetch([first])) | set(await fetch([second])) == {first, second}

    assert not {"cookie", "authorization", "referer"} & {n.lower() for seen in host.seen for n in seen.headers}


@pytest.mark.parametrize(
    "answer", [[PRIVATE], [PUBLIC, PRIVATE], [PRIVATE, PUBLIC], [PUBLIC, "169.254.169.254"], ["::1"], [], ["not-one"]]
)
async def test_a_name_with_an_address_that_is_not_public_is_not_connected_to(
    host: ImageHost, answer: list[str]
) -> None:
    url = host.serve("/a.png")

    async with fetcher(host, answers=[answer]) as fetch:
        assert await fetch([url]) == {}

    assert host.connections == []


async def test_a_name_that_changes_its_mind_after_the_check_gains_nothing(host: ImageHost) -> None:
    url = host.serve("/a.png")
    names = ScriptedNames([[PUBLIC], [PRIVATE]])

    async with fetcher(host, names=names) as fetch:
        first, second = await fetch([url]), await fetch([url])

    assert (set(first), set(second)) == ({url}, set())
    assert names.asked == [HOST, HOST]  # once per connection: the address that was checked is the one connected to
    assert host.connections == [PUBLIC]


async def test_an_address_in_the_url_is_checked_too(host: ImageHost) -> None:
    host.serve("/a.png")

    async with fetcher(host) as fetch:
        assert (
            await fetch([host.url("/a.png", PRIVATE), host.url("/a.png", "2130706434"), host.url("/a.png", "127.2")])
            == {}
        )

    assert host.connections == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(host: ImageHost, status: int) -> None:
    host.serve("/there.png")
    url = host.serve("/here.png", b"", status=status, location="/there.png")

    async with fetcher(host) as fetch:
        assert await fetch([url]) == {}

    assert [seen.path for seen in host.seen] == ["/here.png"]


async def test_a_server_that_cannot_prove_its_name_is_not_asked(host: ImageHost, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with start_image_host(tmp_path / "other", host="other.test.example") as other:
        other.serve("/a.png")
        other.trusting, trusts_neither = host.trusting, other.trusting
        for context in (host.trusting, trusts_neither):
            other.trusting = context
            async with fetcher(other) as fetch:
                assert await fetch([other.url("/a.png")]) == {}

    assert other.seen == []


@pytest.mark.parametrize(
    ("body", "content_type", "status", "headers"),
    [
        (PNG, "text/html", 200, {}),
        (PNG, "image/svg+xml", 200, {}),
        (PNG, "application/octet-stream", 200, {}),
        (b"<html>", "image/png", 200, {}),
        (b"", "image/png", 200, {}),
        (PNG, "image/png", 404, {}),
        (PNG, "image/png", 206, {}),
        (PNG, "image/png", 200, {"content_encoding": "gzip"}),
        (PNG + b"\0" * IMAGE_BYTES_MAX, "image/png", 200, {}),
    ],
    ids=str.split("html svg binary html-as-png empty not-found partial packed large"),
)
async def test_what_is_no_image_stays_a_url(
    host: ImageHost, body: bytes, content_type: str, status: int, headers: dict[str, str]
) -> None:
    url = host.serve("/a", body, content_type, status=status, **headers)

    async with fetcher(host) as fetch:
        assert await fetch([url]) == {}


async def test_an_image_is_called_what_its_bytes_are(host: ImageHost) -> None:
    url = host.serve("/a", b"\xff\xd8\xff\xe0", "image/png; charset=binary")

    async with fetcher(host) as fetch:
        assert (await fetch([url]))[url].startswith("data:image/jpeg;base64,")


async def test_a_stream_without_a_length_is_cut_at_the_bound(host: ImageHost) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        answer = web.StreamResponse(headers={"Content-Type": "image/png"})
        await answer.prepare(request)
        while True:
            await answer.write(PNG * 1000)
            sent += len(PNG) * 1000

    host.handlers["/endless"] = endless
    async with fetcher(host, within_s=30) as fetch:
        assert await fetch([host.url("/endless")]) == {}

    assert sent < 8 * IMAGE_BYTES_MAX  # what sockets and buffers hold comes on top


async def test_what_is_not_there_in_time_stays_a_url_and_the_rest_is_had(host: ImageHost) -> None:
    gone = asyncio.Event()

    async def silent(_request: web.Request) -> web.StreamResponse:
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        raise AssertionError

    host.handlers["/silent"] = silent
    quick = host.serve("/quick.png")
    async with fetcher(host, within_s=1.0) as fetch:
        assert await fetch([host.url("/silent"), quick]) == {quick: AS_DATA}
    async with asyncio.timeout(5):
        await gone.wait()


async def test_images_are_few_and_fetched_few_at_a_time(host: ImageHost) -> None:
    urls = [host.serve(f"/{n}.png") for n in range(IMAGES_MAX + 4)]
    all_in = asyncio.Event()

    async def together(_request: web.Request) -> web.StreamResponse:
        if host.at_once == AT_ONCE_MAX:
            all_in.set()
        await all_in.wait()
        return web.Response(body=PNG, content_type="image/png")

    host.handlers |= {f"/{n}.png": together for n in range(IMAGES_MAX)}
    async with fetcher(host) as fetch:
        assert set(await fetch(urls)) == set(urls[:IMAGES_MAX])

    assert host.at_once_seen == AT_ONCE_MAX


async def test_hosts_that_are_nowhere_do_no_harm(host: ImageHost) -> None:
    refused = f"https://{PUBLIC}:1/a.png"

    async with open_image_fetcher([f"{PUBLIC}:1"], may_connect=is_public, tls=host.trusting) as fetch:
        assert await fetch([refused, "https://", "https://[", "https://a.example.com:99999/", "no url"]) == {}
