"""How the gateway reaches upstream: by TLS, by way of a proxy, over connections that do not last."""

from __future__ import annotations

import random
from contextlib import aclosing
from pathlib import Path

import pytest

from codex_lb.gateway.outcome import Blame
from codex_lb.gateway.upstream.direct import DirectUpstream, head_of
from codex_lb.gateway.upstream.http import BrokenConnectionError
from codex_lb.gateway.upstream.opening import open_http
from tests.support.certificates import contexts_for
from tests.support.raw_server import Peer, raw_server

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def always_ok(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.say(OK)


async def test_upstream_is_spoken_to_by_tls(tmp_path: Path) -> None:
    of_server, of_client = contexts_for(tmp_path, "localhost")
    body = random.Random(1).randbytes(5 * 2**20)

    async with (
        raw_server(always_ok, tls=of_server) as server,
        aclosing(DirectUpstream(server.url, connect_timeout_s=5, tls=of_client)) as upstream,
    ):
        for sent in (b"{}", body, b"{}"):
            async with upstream.post("/", headers=[], body=sent) as answer:
                assert await answer.read(10) == b"ok"

        assert len(server.peers) == 1


async def test_a_certificate_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    of_server, _ = contexts_for(tmp_path, "localhost")

    async with (
        raw_server(always_ok, tls=of_server) as server,
        aclosing(DirectUpstream(server.url, connect_timeout_s=5)) as upstream,
    ):
        with pytest.raises(BrokenConnectionError) as broken:
            async with upstream.post("/", headers=[], body=b"{}"):
                pass

    assert (broken.value.fault.code, broken.value.fault.blame) == ("upstream_unavailable", Blame.NETWORK)


async def test_a_proxy_that_the_environment_names_stands_between(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []

    async def serve(peer: Peer) -> None:
        heard.append((await peer.request()).head)
        await peer.say(OK)

    async with raw_server(serve) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        async with (
            open_http("http://upstream.invalid/backend-api", connect_timeout_s=5) as upstream,
            upstream.post("/codex/responses", headers=[], body=b"{}") as answer,
        ):
            assert await answer.read(10) == b"ok"

    assert heard[0].startswith(b"POST http://upstream.invalid/backend-api/codex/responses HTTP/1.1\r\n")


@pytest.mark.parametrize("value", ["a\r\nx-more: 1", "a\nb", "a\rb", "a\0b"])
def test_a_header_cannot_be_made_into_two(value: str) -> None:
    with pytest.raises(ValueError, match="line end"):
        head_of(["GET / HTTP/1.1"], [("x-name", value)])
