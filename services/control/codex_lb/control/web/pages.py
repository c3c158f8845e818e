"""The pages: rendered here, of one file each, and in need of nothing from elsewhere."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from codex_lb.control.usecases.glance import Glance
from codex_lb.control.web.security import page_policy

MODEL = "gpt-5.3-codex"  # named in examples until the catalog is known
HOST = re.compile(r"[\w.-]+(:\d+)?|\[[\da-fA-F:.]+\](:\d+)?", re.ASCII)


class Pages:
    """The endpoints."""

    def __init__(self, glance: Callable[[], Glance]) -> None:
        self._glance = glance

    async def first_steps(self, request: Request) -> Response:
        """How to import an account, how to set up a client, how the pool is."""
        return page("first_steps.html", steps_of(self._glance(), origin=origin_of(request)))


def steps_of(glance: Glance, *, origin: str) -> dict[str, str]:
    """What the page of first steps says."""
    return {
        "version": glance.version,
        "origin": origin,
        "ready": f"{glance.ready_accounts} of {glance.accounts}" if glance.accounts else "none yet",
        "models": str(len(glance.models) or "–"),
        "turns": str(glance.turns_running),
        "model": glance.models[0] if glance.models else MODEL,
        "state": "empty" if glance.accounts == 0 else "ready" if glance.ready_accounts else "waiting",
    }


async def nothing_here(request: Request, _error: Exception) -> Response:
    """For whoever is lost: a page for browsers, the base URLs for programs."""
    if "text/html" in request.headers.get("accept", ""):
        return page("nothing_here.html", {}, status=404)
    message = (
        f"There is nothing at {request.url.path}. Clients use {origin_of(request)}/v1 (OpenAI)"
        f" or {origin_of(request)}/backend-api/codex (Codex) as their base URL."
    )
    return JSONResponse({"error": {"message": message, "type": "invalid_request_error", "code": "not_found"}}, 404)


def page(name: str, values: Mapping[str, str], *, status: int = 200) -> HTMLResponse:
    """A page with these values in it."""
    nonce = secrets.token_urlsafe(16)
    html = render(name, values, nonce=nonce)
    return HTMLResponse(html, status, {"content-security-policy": page_policy(nonce)})


def render(name: str, values: Mapping[str, str], *, nonce: str) -> str:
    """The page's HTML. A value is text, wherever it comes from."""
    shown = {key: escape(value) for key, value in values.items()}
    return _template(name).substitute(shown, nonce=nonce)


def origin_of(request: Request) -> str:
    """Scheme, host and port as the client wrote them; the host only if it is one."""
    host = request.headers.get("host", "")
    return f"{request.url.scheme}://{host if HOST.fullmatch(host) else '127.0.0.1:2455'}"


@cache
def _template(name: str) -> Template:
    return Template(files(__package__).joinpath(name).read_text(encoding="utf-8"))
