"""The page on which a browser sign-in ends. It loads nothing, and keeps the address, which has a code in it, to itself."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from starlette.responses import HTMLResponse

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
GOOD, BAD = ("#2e7d4f", "#5dbb84"), ("#b3402e", "#e8806f")  # of a light and of a dark page


def success_page(text: str) -> HTMLResponse:
    """It went well."""
    return _page("Signed in", text, "You can close this page.", colours=GOOD, role="status", status=200)


def failure_page(text: str, *, status: int) -> HTMLResponse:
    """It did not."""
    return _page("Not signed in", text, "codex-lb shows sign-ins that wait.", colours=BAD, role="alert", status=status)


def _page(title: str, text: str, hint: str, *, colours: tuple[str, str], role: str, status: int) -> HTMLResponse:
    light, dark = colours
    shown = {"title": escape(title), "text": escape(text), "hint": escape(hint)}
    body = _template().substitute(shown, light=light, dark=dark, role=role)
    return HTMLResponse(body, status_code=status, headers=HEADERS)


@cache
def _template() -> Template:
    return Template(files(__package__).joinpath("page.html").read_text("utf-8"))
