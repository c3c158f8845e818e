"""Everything that control answers over HTTP, but for its health: the admin API below /api, signing in below /auth, pages."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from codex_lb.control.admin.faces import Face
from codex_lb.control.web.connect import Connect
from codex_lb.control.web.doorman import Doorman
from codex_lb.control.web.pages import Pages, nothing_here
from codex_lb.control.web.security import with_security_headers
from codex_lb.control.web.sign_in import PATH, SignIn

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]  # all: the endpoint says itself what it takes


def web_face(faces: Iterable[Face], doorman: Doorman, sign_in: SignIn, pages: Pages) -> ASGIApp:
    """The app."""
    connect = Connect(faces, doorman)
    app = Starlette(
        routes=[
            Route("/", pages.first_steps),
            Route(PATH, pages.sign_in, methods=["GET"]),
            Route(PATH, sign_in.enter, methods=["POST"]),
            Route("/auth/sign-out", sign_in.leave, methods=["POST"]),
            Route("/auth/session", sign_in.tell, methods=["GET"]),
            Route("/api/{path:path}", connect.call, methods=METHODS),
        ],
        exception_handlers={404: nothing_here, 405: nothing_here},
    )
    return with_security_headers(app)
