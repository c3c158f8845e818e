"""Those who come to control over HTTP: from this machine or from elsewhere, with a browser or without."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
from starlette.types import ASGIApp

from codex_lb.control.web.doorman import CSRF
from codex_lb.control.web.visitors import CSRF_WITHOUT_SESSION
from codex_lb.kit.http_server import HttpServer
from codex_lb.kit.service import Stop
from codex_lb.kit.sockets import bind_unix

WITHIN_S = 10.0
ADMIN = "/api/codex_lb.api.admin.v1."
ELSEWHERE = "203.0.113.7"
HERE = "127.0.0.1"


class Visits:
    """Makes visitors of the web face that is served on a socket, as an edge of ours hands them on."""

    def __init__(self, socket: Path, stack: AsyncExitStack) -> None:
        self._socket = socket
        self._stack = stack

    async def visitor(
        self,
        *,
        peer: str = HERE,
        host: str = "localhost:2455",
        http_version: str = "1.1",
        headers: Mapping[str, str] | None = None,
    ) -> Visitor:
        """Somebody with a cookie jar of their own."""
        client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(self._socket)),
            base_url=f"http://{host}",
            headers={"x-codex-lb-peer": f"{peer} {http_version}", **(headers or {})},
            timeout=WITHIN_S,
        )
        return Visitor(await self._stack.enter_async_context(client))

    async def from_elsewhere(self, *, headers: Mapping[str, str] | None = None, peer: str = ELSEWHERE) -> Visitor:
        """Somebody on another machine."""
        return await self.visitor(peer=peer, host="pool.example.test:2455", headers=headers)


class Visitor:
    """One of them."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.csrf = CSRF_WITHOUT_SESSION

    async def call(
        self, method: str, message: object = None, *, csrf: str | None = None, **headers: str
    ) -> httpx.Response:
        """A call of the admin API, such as SystemService/GetStatus."""
        csrf = self.csrf if csrf is None else csrf
        sent = {CSRF: csrf} if csrf else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(ADMIN + method, json=message or {}, headers=sent)

    async def sign_in(self, link: str, **headers: str) -> httpx.Response:
        """Does what the page does that a link leads to."""
        token = parse_qs(urlsplit(link).fragment)["token"][0]
        answer = await self.client.post("/auth/sign-in", json={"token": token}, headers={CSRF: "1", **headers})
        if answer.is_success:
            self.csrf = answer.json()["csrf"]
        return answer

    async def sign_out(self) -> httpx.Response:
        """Does what the button does."""
        return await self.client.post("/auth/sign-out", headers={CSRF: self.csrf})


@asynccontextmanager
async def open_visits(web: ASGIApp, folder: Path, *, name: str = "web.sock") -> AsyncIterator[Visits]:
    """Serves inside the `with`."""
    socket, stop = folder / name, Stop()
    is_serving = anyio.Event()
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        tasks.start_soon(HttpServer(web, bind_unix(socket), name="web").run, stop, is_serving.set)
        await is_serving.wait()
        try:
            yield Visits(socket, stack)
        finally:
            stop.set()


def reason_of(answer: httpx.Response) -> str:
    """Why a call was refused."""
    reasons = [
        detail["debug"]["reason"] for detail in answer.json()["details"] if detail["type"] == "google.rpc.ErrorInfo"
    ]
    assert len(reasons) == 1
    return str(reasons[0])
