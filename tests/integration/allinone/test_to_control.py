"""The way from the one port to control's web face: requests arrive as they came, with who sent them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from codex_lb.allinone.to_control import open_way_to_control
from codex_lb.kit.http_server import HttpServer
from codex_lb.kit.service import Stop
from codex_lb.kit.sockets import bind_tcp, bind_unix


async def tell(request: Request) -> Response:
    """What arrived."""
    body = await request.body()
    answer = JSONResponse(
        {
            "method": request.method,
            "path": request.scope["raw_path"].decode(),
            "query": request.scope["query_string"].decode(),
            "headers": request.headers.items(),
            "body": len(body),
        },
        status_code=418,
    )
    answer.headers.append("set-cookie", "a=1")
    answer.headers.append("set-cookie", "b=2")
    return answer


@asynccontextmanager
async def served(app: ASGIApp, *, at: Path | None = None, websockets: bool = False) -> AsyncIterator[str]:
    """The base URL of an app on loopback, or on a socket."""
    bound, stop, is_serving = bind_unix(at) if at else bind_tcp("127.0.0.1", 0), Stop(), anyio.Event()
    server = HttpServer(app, bound, websockets=websockets)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run, stop, is_serving.set)
        await is_serving.wait()
        try:
            yield "" if at else f"http://127.0.0.1:{server.port}"
        finally:
            stop.set()


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of an edge, whose control may be at tmp_path/web.sock."""
    async with (
        open_way_to_control(tmp_path / "web.sock") as to_control,
        served(to_control, websockets=True) as url,
    ):
        yield url


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[None]:
    """A control that tells what it was asked."""
    app = Starlette(routes=[Route("/{path:path}", tell, methods=["GET", "POST", "DELETE"])])
    async with served(app, at=tmp_path / "web.sock"):
        yield


async def test_a_request_arrives_as_it_came_and_so_does_the_answer(edge: str, control: None) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 2**14

    async with httpx.AsyncClient(base_url=edge) as client:
        sent = await client.post("/api/a%2Fb?c=%20d", content=b"{}", headers={"cookie": "s=1", "host": "pool.test"})
        streamed = await client.post("/api/s", content=parts())
        got = await client.get("/")

    told = sent.json()
    assert (sent.status_code, sent.headers.get_list("set-cookie")) == (418, ["a=1", "b=2"])
    assert (told["method"], told["path"], told["query"], told["body"]) == ("POST", "/api/a%2Fb", "c=%20d", 2)
    assert {"cookie": "s=1", "host": "pool.test"}.items() <= dict(told["headers"]).items()
    assert (streamed.json()["body"], got.json()["body"]) == (2**20, 0)
    assert got.headers.get_list("date", split_commas=False) == [got.headers["date"]]


async def test_control_is_told_who_asks_whatever_they_say_themselves(edge: str, control: None) -> None:
    async with httpx.AsyncClient(base_url=edge) as client:
        answer = await client.get("/", headers={"x-codex-lb-peer": "127.0.0.9 1.1", "x-forwarded-for": "1.2.3.4"})

    headers = [value for name, value in answer.json()["headers"] if name == "x-codex-lb-peer"]
    assert headers == ["127.0.0.1 1.1"]
    assert dict(answer.json()["headers"])["x-forwarded-for"] == "1.2.3.4"


async def test_while_control_is_away_visitors_are_told_in_their_dialect(edge: str) -> None:
    async with httpx.AsyncClient(base_url=edge) as client:
        called, visited = await client.post("/api/x", json={}), await client.get("/")

    assert (called.status_code, called.json()["code"], called.headers["retry-after"]) == (503, "unavailable", "2")
    assert (visited.status_code, visited.headers["content-type"]) == (503, "text/plain; charset=utf-8")


async def test_nobody_gets_a_websocket_there(edge: str, control: None) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{edge}/api/x")

    assert refused.value.status == 403
