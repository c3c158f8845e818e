"""A real HTTP server on loopback: what it says, what it keeps to itself, how it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from codex_lb.kit.http_server import HttpServer, PortTakenError, bind_tcp
from codex_lb.kit.service import Stop

WITHIN_S = 10.0


class Shop:
    """An app of the tests."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.cleaned_up = asyncio.Event()
        self.app = Starlette(
            routes=[
                Route("/hello", self.hello),
                Route("/stream", self.stream),
                WebSocketRoute("/echo", self.echo),
            ]
        )

    async def hello(self, _request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def stream(self, _request: Request) -> StreamingResponse:
        return StreamingResponse(self.lines())

    async def lines(self) -> AsyncIterator[bytes]:
        try:
            yield b"first\n"
            await self.release.wait()
            yield b"last\n"
        finally:
            self.cleaned_up.set()

    async def echo(self, websocket: WebSocket) -> None:
        await websocket.accept()
        for _ in range(2):
            await websocket.send_bytes(await websocket.receive_bytes())
        await websocket.close()


class Serving:
    """A server that runs in a task of the test."""

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.stop = Stop()
        self.ended = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"


@asynccontextmanager
async def serving(server: HttpServer) -> AsyncIterator[Serving]:
    running, ready = Serving(server), asyncio.Event()

    async def run() -> None:
        await server.run(running.stop, ready.set)
        running.ended.set()

    with anyio.fail_after(WITHIN_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await ready.wait()
            yield running
            running.stop.set()


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=WITHIN_S) as client:
        yield client


LOCAL = ("127.0.0.1", 0)


async def test_an_answer_tells_the_date_but_not_what_serves_it(shop: Shop, client: httpx.AsyncClient) -> None:
    async with serving(HttpServer(shop.app, LOCAL)) as running:
        answer = await client.get(f"{running.url}/hello")

    assert answer.text == "hello"
    assert "date" in answer.headers
    assert "server" not in answer.headers


async def test_a_socket_that_is_already_bound_is_served(shop: Shop, client: httpx.AsyncClient) -> None:
    bound = bind_tcp(*LOCAL)
    port = bound.getsockname()[1]

    async with serving(HttpServer(shop.app, bound)) as running:
        answer = await client.get(f"{running.url}/hello")

    assert (answer.text, running.server.port) == ("hello", port)


async def test_two_servers_in_one_loop_drain_while_a_stream_runs(shop: Shop, client: httpx.AsyncClient) -> None:
    async with (
        serving(HttpServer(shop.app, LOCAL, drain_s=WITHIN_S)) as one,
        serving(HttpServer(shop.app, LOCAL, drain_s=WITHIN_S)) as two,
    ):
        async with client.stream("GET", f"{one.url}/stream") as answer:
            lines = answer.aiter_lines()
            heard = [await anext(lines)]
            one.stop.set()
            two.stop.set()
            await two.ended.wait()
            assert not one.ended.is_set()
            shop.release.set()
            heard.append(await anext(lines))
        await one.ended.wait()

    assert heard == ["first", "last"]


async def test_a_draining_server_refuses_new_connections_at_once(shop: Shop, client: httpx.AsyncClient) -> None:
    async with (
        serving(HttpServer(shop.app, LOCAL, drain_s=WITHIN_S)) as running,
        client.stream("GET", f"{running.url}/stream") as answer,
    ):
        lines = answer.aiter_lines()
        await anext(lines)
        running.stop.set()
        await anyio.wait_all_tasks_blocked()
        async with httpx.AsyncClient() as newcomer:
            with pytest.raises(httpx.ConnectError):
                await newcomer.get(f"{running.url}/hello")
        shop.release.set()
        assert await anext(lines) == "last"


async def test_a_request_that_outlives_the_drain_is_cancelled_and_cleans_up(
    shop: Shop, client: httpx.AsyncClient
) -> None:
    async with serving(HttpServer(shop.app, LOCAL, drain_s=0.05)) as running:
        async with client.stream("GET", f"{running.url}/stream") as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            running.stop.set()
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(lines)
        await running.ended.wait()

    assert shop.cleaned_up.is_set()


async def test_an_idle_connection_does_not_hold_up_the_end(shop: Shop, client: httpx.AsyncClient) -> None:
    async with serving(HttpServer(shop.app, LOCAL, drain_s=WITHIN_S * 10)) as running:
        await client.get(f"{running.url}/hello")  # the connection stays in the client's pool
        running.stop.set()
        await running.ended.wait()


async def test_a_running_websocket_ends_by_itself_while_the_server_drains(shop: Shop) -> None:
    pytest.importorskip("wsproto", reason="HttpServer(websockets=True) needs the package wsproto")
    async with (
        serving(HttpServer(shop.app, LOCAL, drain_s=WITHIN_S, websockets=True)) as running,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{running.url}/echo") as websocket,
    ):
        await websocket.send_bytes(b"one")
        heard = [await websocket.receive_bytes()]
        running.stop.set()
        await anyio.wait_all_tasks_blocked()
        await websocket.send_bytes(b"two")
        heard.append(await websocket.receive_bytes())
        closing = await websocket.receive()

    assert heard == [b"one", b"two"]
    assert closing.data == 1000


async def test_a_taken_port_is_explained(shop: Shop) -> None:
    with socket.create_server(LOCAL) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(PortTakenError, match=f"Cannot listen on 127.0.0.1:{port}: another program uses the port"):
            await HttpServer(shop.app, ("127.0.0.1", port)).run(Stop(), lambda: None)


@pytest.mark.parametrize(
    ("host", "sentence"),
    [("192.0.2.1", "192.0.2.1 is not an address of this machine"), ("no.such.host.invalid", "is not an address of")],
)
def test_an_address_of_another_machine_is_explained(host: str, sentence: str) -> None:
    with pytest.raises(PortTakenError, match=sentence):
        bind_tcp(host, 0)


def test_processes_of_ours_may_share_a_port() -> None:
    with bind_tcp("127.0.0.1", 0, reuse_port=True) as one:
        port = one.getsockname()[1]

        with bind_tcp("127.0.0.1", port, reuse_port=True) as two:
            assert two.getsockname()[1] == port


def test_a_port_is_not_told_before_there_is_one(shop: Shop) -> None:
    with pytest.raises(RuntimeError, match="not bound yet"):
        _ = HttpServer(shop.app, LOCAL).port
