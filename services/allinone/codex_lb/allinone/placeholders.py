"""Stand-ins for what does not exist yet: the UI, and the admin API over HTTP."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

MODEL = "gpt-5.3-codex"  # named in examples until the catalog is known
HOST = re.compile(r"[\w.-]+(:\d+)?|\[[\da-fA-F:.]+\](:\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Glance:
    """The pool in a few numbers."""

    version: str
    accounts: int
    ready_accounts: int
    models: tuple[str, ...]
    turns_running: int


def placeholder_page(glance: Callable[[], Glance]) -> Starlette:
    """One page at `/`: how to import an account, how to set up a client, how the pool is."""

    async def page(request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        html = render(glance(), origin=origin_of(request), nonce=nonce)
        return HTMLResponse(html, headers=_headers(nonce))

    async def nothing_here(request: Request, _error: Exception) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            nonce = secrets.token_urlsafe(16)
            return HTMLResponse(_NOTHING_HERE.format(nonce=nonce), 404, headers=_headers(nonce))
        message = (
            f"There is nothing at {request.url.path}. Clients use {origin_of(request)}/v1 (OpenAI)"
            f" or {origin_of(request)}/backend-api/codex (Codex) as their base URL."
        )
        return JSONResponse({"error": {"message": message, "type": "invalid_request_error", "code": "not_found"}}, 404)

    return Starlette(routes=[Route("/", page)], exception_handlers={404: nothing_here, 405: nothing_here})


async def no_admin_api(scope: Scope, receive: Receive, send: Send) -> None:
    """404 as the Connect protocol writes it, which the admin API will speak here."""
    answer = {
        "code": "unimplemented",
        "message": f"There is nothing at {scope['path']}. The admin API is served over gRPC; try: codex-lb admin status",
    }
    await JSONResponse(answer, 404)(scope, receive, send)


def render(glance: Glance, *, origin: str, nonce: str) -> str:
    """The page."""
    values = {
        "version": glance.version,
        "origin": origin,
        "nonce": nonce,
        "ready": f"{glance.ready_accounts} of {glance.accounts}" if glance.accounts else "none yet",
        "models": str(len(glance.models) or "–"),
        "turns": str(glance.turns_running),
        "model": glance.models[0] if glance.models else MODEL,
        "state": "empty" if glance.accounts == 0 else "ready" if glance.ready_accounts else "waiting",
    }
    return _template().substitute({name: escape(value) for name, value in values.items()})


def origin_of(request: Request) -> str:
    """Scheme, host and port as the client wrote them; the host only if it is one."""
    host = request.headers.get("host", "")
    return f"{request.url.scheme}://{host if HOST.fullmatch(host) else '127.0.0.1:2455'}"


@cache
def _template() -> Template:
    return Template(files("codex_lb.allinone").joinpath("page.html").read_text(encoding="utf-8"))


def _headers(nonce: str) -> dict[str, str]:
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:"
    )
    return {
        "content-security-policy": f"{policy}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }


_NOTHING_HERE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Not found · codex-lb</title>
<style nonce="{nonce}">
body {{ margin: 18vh auto; max-width: 32rem; padding: 0 1.5rem; font: 16px/1.55 system-ui, sans-serif }}
</style></head>
<body><h1>There is nothing here</h1><p><a href="/">Back to the start page</a></p></body></html>"""
