"""The pages: rendered here, of one file each, and in need of nothing from elsewhere."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from codex_lb.control.usecases.glance import Glance
from codex_lb.control.web.connect_wire import STATUSES
from codex_lb.control.web.doorman import Doorman
from codex_lb.control.web.security import page_policy
from codex_lb.control.web.visitors import SignedIn, Stranger, Visitor, csrf_of
from codex_lb.kit.rpc_errors import RpcFailure

MODEL = "gpt-5.5"  # named in examples until the catalog is known
GATEWAY_PORT = "2455"  # where clients connect, when somebody looks at control's own port
HOST = re.compile(r"[\w.-]+(:\d+)?|\[[\da-fA-F:.]+\](:\d+)?", re.ASCII)


class Pages:
    """The endpoints."""

    def __init__(self, glance: Callable[[], Glance], doorman: Doorman) -> None:
        self._glance = glance
        self._doorman = doorman

    async def first_steps(self, request: Request) -> Response:
        """How the pool is and what to do next, for whoever may do it; for others, how to sign in."""
        try:
            visitor = await self._doorman.visitor(request)
        except RpcFailure as failure:
            return message_page("Not now", failure.message, status=STATUSES[failure.code])
        if isinstance(visitor, Stranger):
            return page("stranger.html", {"title": "codex-lb"}, scripts=["snippets.js"])
        values = steps_of(self._glance(), visitor, origin=origin_of(request))
        if request.scope.get("client") is not None and values["origin"].endswith(f":{request.scope['server'][1]}"):
            values["port"] = GATEWAY_PORT  # this is control's own port, at which no client is served
            values["origin"] = f"{values['origin'].rpartition(':')[0]}:{GATEWAY_PORT}"
        return page("first_steps.html", values, scripts=["snippets.js", "first_steps.js"])

    async def sign_in(self, _request: Request) -> Response:
        """What a sign-in link leads to."""
        return page("sign_in.html", {"title": "Sign in · codex-lb", "width": "narrow"}, scripts=["sign_in.js"])


def steps_of(glance: Glance, visitor: Visitor, *, origin: str) -> dict[str, str]:
    """What the page of first steps says."""
    return {
        "title": "codex-lb",
        "version": glance.version,
        "origin": origin,
        "ready": f"{glance.ready_accounts} of {glance.accounts}" if glance.accounts else "none yet",
        "models": str(len(glance.models) or "–"),
        "turns": str(glance.turns_running),
        "model": glance.models[0] if glance.models else MODEL,
        "state": "empty" if glance.accounts == 0 else "ready" if glance.ready_accounts else "waiting",
        "asks": "yes" if glance.asks_for_keys else "no",
        "keys": str(glance.api_keys),
        "csrf": csrf_of(visitor),
        "leave": "" if isinstance(visitor, SignedIn) else "absent",
    }


async def nothing_here(request: Request, _error: Exception) -> Response:
    """For whoever is lost: a page for browsers, the base URLs for programs."""
    path = request.scope["path"][:200]
    if "text/html" in request.headers.get("accept", ""):
        return message_page("There is nothing here", f"{path} is no page of codex-lb.", status=404)
    message = (
        f"There is nothing at {path}. Clients use {origin_of(request)}/v1 (OpenAI)"
        f" or {origin_of(request)}/backend-api/codex (Codex) as their base URL."
    )
    return JSONResponse({"error": {"message": message, "type": "invalid_request_error", "code": "not_found"}}, 404)


def message_page(title: str, text: str, *, status: int) -> HTMLResponse:
    """A page with one thing to say."""
    return page("message.html", {"title": title, "text": text, "width": "narrow"}, status=status)


def page(name: str, values: Mapping[str, str], *, scripts: Sequence[str] = (), status: int = 200) -> HTMLResponse:
    """A page with these values in it."""
    nonce = secrets.token_urlsafe(16)
    html = render(name, values, scripts=scripts, nonce=nonce)
    return HTMLResponse(html, status, {"content-security-policy": page_policy(nonce)})


def render(name: str, values: Mapping[str, str], *, scripts: Sequence[str] = (), nonce: str) -> str:
    """The page's HTML. A value is text, wherever it comes from."""
    shown = {"width": "", "asks": "", "csrf": "", "port": ""} | {key: escape(value) for key, value in values.items()}
    return Template(_file("layout.html")).substitute(
        shown,
        nonce=nonce,
        style=_file("style.css"),
        body=Template(_file(name)).substitute(shown),
        script="".join(map(_file, scripts)),
    )


def origin_of(request: Request) -> str:
    """Scheme, host and port as the client wrote them; the host only if it is one."""
    host = request.headers.get("host", "")
    return f"{request.scope['scheme']}://{host if HOST.fullmatch(host) else f'127.0.0.1:{GATEWAY_PORT}'}"


@cache
def _file(name: str) -> str:
    return files(__package__).joinpath("html", name).read_text(encoding="utf-8")
