"""The way from the one port to control's web face: everything that is for it goes over the socket in the data folder.

Also where both are one process: with several gateways it is the only way, and one way is enough to be sure of.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from yarl import URL

PEER = b"x-codex-lb-peer"  # who asked, and in which version of HTTP; control believes it of whoever has this socket
CONNECT_WITHIN_S = 2.0
ANSWER_WITHIN_S = 150.0  # longer than control takes for anything
CONNECTIONS_MAX = 64
LOOPBACK = "127.0.0.1"
# What belongs to one connection, and what this end of it says by itself.
NOT_PASSED_ON = frozenset({
    b"connection", b"date", b"expect", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding",
    b"upgrade", PEER,
})  # fmt: skip
AWAY = "Control does not answer. Try again in a few seconds."


@asynccontextmanager
async def open_way_to_control(socket: Path) -> AsyncIterator[ToControl]:
    """Connects when something is asked for."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN_S, sock_read=ANSWER_WITHIN_S)
    async with aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(str(socket), limit=CONNECTIONS_MAX),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=timeout,
        auto_decompress=False,
        skip_auto_headers=("user-agent", "accept", "accept-encoding", "content-type"),
    ) as session:
        yield ToControl(session)


class ToControl:
    """An ASGI app."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as it came, and its answer."""
        if scope["type"] != "http":
            await send({"type": "websocket.close"})  # before it is accepted: a 403
            return
        try:
            answer = await self._asked(scope, receive)
        except VisitorLeftError:
            return
        except (aiohttp.ClientError, TimeoutError):
            await away(scope)(scope, receive, send)
            return
        async with answer:  # what breaks off from here on breaks off for the visitor too
            headers = [(name.lower(), value) for name, value in answer.raw_headers if is_passed_on(name)]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            async for part in answer.content.iter_any():
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    async def _asked(self, scope: Scope, receive: Receive) -> aiohttp.ClientResponse:
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        return await self._session.request(
            scope["method"],
            URL("http://control" + target.decode("latin-1"), encoded=True),
            headers=headers_of(scope),
            data=body_of(receive) if has_body(scope) else None,
            allow_redirects=False,
        )


class VisitorLeftError(Exception):
    """In the middle of the body."""


def headers_of(scope: Scope) -> list[tuple[str, str]]:
    """The visitor's headers, and who the visitor is."""
    client = scope.get("client")
    headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"] if is_passed_on(n)]
    return [*headers, (PEER.decode(), f"{client[0] if client else LOOPBACK} {scope['http_version']}")]


def has_body(scope: Scope) -> bool:
    """Whether there is anything to hand on."""
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


async def body_of(receive: Receive) -> AsyncIterator[bytes]:
    """The body as it comes; a visitor who leaves ends it."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise VisitorLeftError
        yield message.get("body", b"")
        more = message.get("more_body", False)


def is_passed_on(name: bytes) -> bool:
    """Whether a header is more than one connection's."""
    return name.lower() not in NOT_PASSED_ON


def away(scope: Scope) -> Response:
    """For a control that is not there."""
    headers = {"retry-after": "2"}
    if scope["path"].startswith("/api/"):
        return JSONResponse({"code": "unavailable", "message": AWAY}, 503, headers)
    return PlainTextResponse(AWAY, 503, headers)
