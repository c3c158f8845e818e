"""The port for requests to upstream keeps its promises on both adapters, whatever a server does."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import pytest

from codex_lb.gateway.outcome import Blame
from codex_lb.gateway.upstream.aiohttp_session import open_session
from codex_lb.gateway.upstream.direct import DirectUpstream
from codex_lb.gateway.upstream.exchange import Answer
from codex_lb.gateway.upstream.http import BrokenConnectionError, UpstreamHttp
from codex_lb.gateway.upstream.proxied import ProxiedUpstream
from tests.support.raw_server import Peer, Serve, raw_server

OK = b"HTTP/1.1 200 OK\r\n"
BODY = b"event: a\ndata: {}\n\n" * 40
Client = Callable[[str], AbstractAsyncContextManager[UpstreamHttp]]


@asynccontextmanager
async def direct(url: str) -> AsyncIterator[UpstreamHttp]:
    async with aclosing(DirectUpstream(url, connect_timeout_s=5)) as upstream:
        yield upstream


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[UpstreamHttp]:
    async with open_session(connect_timeout_s=5, is_proxied=False) as session:
        yield ProxiedUpstream(session, url)


@pytest.fixture(params=[direct, proxied], ids=["direct", "proxied"])
def client(request: pytest.FixtureRequest) -> Client:
    made: Client = request.param
    return made


async def answered(upstream: UpstreamHttp, body: bytes = b"{}") -> tuple[int, bytes]:
    async with asyncio.timeout(20), upstream.post("/codex/responses", headers=[("a", "b")], body=body) as answer:
        return answer.status, await answer.read(2**30)


async def failure(upstream: UpstreamHttp) -> tuple[str, Blame]:
    with pytest.raises(BrokenConnectionError) as broken:
        await answered(upstream)
    return broken.value.fault.code, broken.value.fault.blame


def always(*pieces: bytes) -> Serve:
    """A server that answers every request so, on a connection that it keeps."""

    async def serve(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.say(*pieces)

    return serve


def once(*pieces: bytes) -> Serve:
    """A server that answers one request so, and closes."""

    async def serve(peer: Peer) -> None:
        await peer.request()
        await peer.say(*pieces)
        await asyncio.sleep(0.02)  # so that what was said is not lost with the connection

    return serve


def framed(body: bytes, how: str, chance: random.Random) -> bytes:
    """An answer in one of the three ways in which an answer can end."""
    if how == "length":
        return OK + b"content-length: %d\r\n\r\n" % len(body) + body
    if how == "close":
        return OK + b"\r\n" + body
    pieces, at = [], 0
    while at < len(body):
        size = chance.randint(1, 200)
        piece = body[at : at + size]
        extension = b";name=value" if chance.random() < 0.1 else b""
        pieces.append(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece))
        at += size
    trailer = b"x-trailer: 1\r\n" if chance.random() < 0.3 else b""
    return OK + b"transfer-encoding: chunked\r\n\r\n" + b"".join(pieces) + b"0\r\n" + trailer + b"\r\n"


def cut(data: bytes, chance: random.Random) -> Sequence[bytes]:
    """The data in pieces."""
    places = sorted(chance.sample(range(1, len(data)), min(len(data) - 1, chance.randint(0, 12))))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize("how", ["length", "chunked", "close"])
async def test_an_answer_comes_whole_however_it_is_framed_and_cut(client: Client, how: str) -> None:
    chance = random.Random(7)
    answers = iter([cut(framed(BODY, how, chance), chance) for _ in range(60)])

    async def serve(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.say(*next(answers))
            if how == "close":
                return peer.writer.write_eof()

    async with raw_server(serve) as server, client(server.url) as upstream:
        for _ in range(60):
            assert await answered(upstream) == (200, BODY)


async def test_a_request_arrives_as_it_was_given(client: Client) -> None:
    heard = []

    async def serve(peer: Peer) -> None:
        while True:
            heard.append(await peer.request())
            await peer.say(OK + b"content-length: 0\r\n\r\n")

    async with raw_server(serve) as server, client(server.url + "/backend-api") as upstream:
        headers = [("x-one", "1"), ("authorization", "Bearer t"), ("user-agent", "codex ü")]
        async with upstream.post("/codex/responses?a=%2F", headers=headers, body=b'{"a":1}') as answer:
            assert (answer.status, await answer.read(10), answer.is_at_end) == (200, b"", True)
        async with upstream.request("GET", "/wham/usage", headers=[], body=b"") as answer:
            await answer.read(10)

    posted, got = heard
    lines = posted.head.split(b"\r\n")
    assert lines[0] == b"POST /backend-api/codex/responses?a=%2F HTTP/1.1"
    lowered = {line.split(b": ", 1)[0].lower(): line.split(b": ", 1)[1] for line in lines[1:-2]}
    assert lowered == {
        b"host": server.url.removeprefix("http://").encode(),
        b"x-one": b"1",
        b"authorization": b"Bearer t",
        b"user-agent": "codex ü".encode(),
        b"content-length": b"7",
    }
    assert posted.body == b'{"a":1}'
    assert got.head.startswith(b"GET /backend-api/wham/usage HTTP/1.1\r\n")


async def test_headers_are_known_in_lower_case_and_by_the_first_of_several(client: Client) -> None:
    head = b"X-Codex-Primary-Used-Percent: 3\r\nset-cookie: a\r\nSet-Cookie: b\r\nx-name: \xc3\xbc\r\ncontent-length: 0\r\n\r\n"

    async with (
        raw_server(always(OK + head)) as server,
        client(server.url) as upstream,
        upstream.post("/", headers=[], body=b"") as answer,
    ):
        headers = dict(answer.headers)

    assert headers["x-codex-primary-used-percent"] == "3"
    assert (headers["set-cookie"], headers["x-name"]) == ("a", "ü")


async def test_a_connection_whose_answer_was_read_is_used_again(client: Client) -> None:
    async with (
        raw_server(always(OK + b"content-length: 2\r\n\r\nok")) as server,
        client(server.url) as upstream,
    ):
        for _ in range(3):
            await answered(upstream)
        await asyncio.gather(*(answered(upstream) for _ in range(4)))

        assert len(server.peers) == 4


@pytest.mark.parametrize(
    "answer",
    [
        b"connection: close\r\ncontent-length: 2\r\n\r\nok",
        b"content-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
    ],
    ids=["it says so", "it says too much"],
)
async def test_a_connection_that_cannot_be_used_again_is_not(client: Client, answer: bytes) -> None:
    async with raw_server(always(OK + answer)) as server, client(server.url) as upstream:
        told = [await answered(upstream) for _ in range(3)]

        assert told == [(200, b"ok")] * 3
        assert len(server.peers) == 3


async def test_an_answer_that_is_done_with_needs_no_garbage_collector() -> None:
    gc.disable()
    try:
        async with (
            raw_server(always(framed(BODY, "length", random.Random(1)))) as server,
            direct(server.url) as upstream,
        ):
            for _ in range(20):
                await answered(upstream)
            left = sum(isinstance(one, Answer) for one in gc.get_objects())
    finally:
        gc.enable()

    assert left <= 1


async def test_leaving_an_answer_hangs_up(client: Client) -> None:
    async def serve(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
        left.set_result(await peer.is_hung_up_on())

    async with raw_server(serve) as server, client(server.url) as upstream:
        left: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        async with upstream.post("/", headers=[], body=b"") as answer:
            assert await answer.chunk() == b"hi"

        assert await asyncio.wait_for(left, 10)


async def test_giving_up_the_wait_for_an_answer_hangs_up(client: Client) -> None:
    async def serve(peer: Peer) -> None:
        await peer.request()
        asked.set()
        left.set_result(await peer.is_hung_up_on())

    async with raw_server(serve) as server, client(server.url) as upstream:
        left: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        asked = asyncio.Event()
        waiting = asyncio.create_task(answered(upstream))
        await asked.wait()
        waiting.cancel()

        assert await asyncio.wait_for(left, 10)


async def test_a_kept_connection_that_upstream_closed_is_not_used(client: Client) -> None:
    async with (
        raw_server(once(OK + b"content-length: 2\r\n\r\nok")) as server,
        client(server.url) as upstream,
    ):
        for _ in range(3):
            assert await answered(upstream) == (200, b"ok")
            await asyncio.sleep(0.1)  # until the close has been heard

        assert len(server.peers) == 3


async def test_interim_answers_are_passed_over(client: Client) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"

    async with (
        raw_server(always(interim, OK + b"content-length: 2\r\n\r\nok")) as server,
        client(server.url) as upstream,
        upstream.post("/", headers=[], body=b"") as answer,
    ):
        assert (answer.status, await answer.read(10)) == (200, b"ok")
        assert "link" not in answer.headers


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"", "upstream_unavailable"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "upstream_unavailable"),
        (OK + b"content-length: 10\r\n\r\nhalf", "stream_incomplete"),
        (OK + b"content-length: 10\r\nconnection: close\r\n\r\nhalf", "stream_incomplete"),
        (OK + b"transfer-encoding: chunked\r\n\r\n5\r\nha", "stream_incomplete"),
        (OK + b"transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", "stream_incomplete"),
    ],
)
async def test_an_answer_that_breaks_off_is_known_to(client: Client, said: bytes, code: str) -> None:
    async with raw_server(once(said)) as server, client(server.url) as upstream:
        assert await failure(upstream) == (code, Blame.UPSTREAM)


async def test_what_came_before_the_break_is_given_out(client: Client) -> None:
    said = OK + b"transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"

    async with (
        raw_server(once(said)) as server,
        client(server.url) as upstream,
        upstream.post("/", headers=[], body=b"") as answer,
    ):
        assert await answer.chunk() == b"half"
        with pytest.raises(BrokenConnectionError):
            await answer.chunk()


async def test_garbage_ends_in_a_typed_failure_and_never_hangs() -> None:
    """Of ours alone: aiohttp waits on some of it until the connection ends, or the turn's deadline comes."""
    chance = random.Random(11)
    valid = [framed(BODY, how, chance) for how in ("length", "chunked")]

    def spoilt() -> bytes:
        data = bytearray(chance.choice(valid))
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(data))
            data[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 4))
        return bytes(data)

    async def serve(peer: Peer) -> None:
        await peer.request()
        await peer.say(*cut(spoilt(), chance))
        await asyncio.sleep(0.005)

    async with raw_server(serve) as server, direct(server.url) as upstream:
        codes = set()
        for _ in range(400):
            try:
                await answered(upstream)
            except BrokenConnectionError as error:
                codes.add(error.fault.code)

    assert codes == {"upstream_unavailable", "stream_incomplete"}


async def test_a_large_body_arrives_whole(client: Client) -> None:
    body = random.Random(3).randbytes(8 * 2**20 + 17)
    heard = []

    async def serve(peer: Peer) -> None:
        while True:
            heard.append((await peer.request()).body == body)
            await peer.say(OK + b"content-length: 2\r\n\r\nok")

    async with raw_server(serve) as server, client(server.url) as upstream:
        assert [await answered(upstream, body) for _ in range(2)] == [(200, b"ok")] * 2

    assert heard == [True, True]
    assert len(server.peers) == 1


async def test_an_answer_that_comes_before_the_whole_request_was_sent_is_an_answer(client: Client) -> None:
    refusal = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 5\r\n\r\nlarge"

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.say(refusal)
        await asyncio.sleep(0.1)

    async with (
        raw_server(serve) as server,
        client(server.url) as upstream,
        asyncio.timeout(20),
        upstream.post("/", headers=[], body=bytes(64 * 2**20)) as answer,
    ):
        assert answer.status == 413


async def test_a_reader_that_waits_makes_upstream_wait(client: Client) -> None:
    piece = bytes(64 * 2**10)
    sent = 0

    async def serve(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.say(OK + b"content-length: %d\r\n\r\n" % (400 * len(piece)))
        for _ in range(400):
            await peer.say(piece)
            sent += len(piece)
        await peer.is_hung_up_on()

    async with (
        raw_server(serve) as server,
        client(server.url) as upstream,
        upstream.post("/", headers=[], body=b"") as answer,
    ):
        before = -1
        while before < sent:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 20 * 2**20  # what sockets hold on both sides, and what is kept
        assert len(await answer.read(2**30)) == 400 * len(piece)
        assert answer.is_at_end


async def test_nobody_there_is_told_from_nobody_answering(client: Client) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        async with client(f"http://127.0.0.1:{taken.getsockname()[1]}") as upstream:
            refused = await failure(upstream)
    async with client("http://no-such-host.invalid") as upstream:
        unknown = await failure(upstream)

    assert refused == unknown == ("upstream_unavailable", Blame.NETWORK)
