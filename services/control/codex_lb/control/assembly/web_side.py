"""What people meet over HTTP, and how they get in."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version

from starlette.types import ASGIApp

from codex_lb.control.admin.faces import Face
from codex_lb.control.admin.web_access import WebAccessRpc
from codex_lb.control.assembly.state import State
from codex_lb.control.domain.web_access import WebSecret
from codex_lb.control.settings import ControlSettings
from codex_lb.control.usecases.glance import TakeGlance
from codex_lb.control.usecases.web_access import WebAccess
from codex_lb.control.web.doorman import Doorman
from codex_lb.control.web.face import web_face
from codex_lb.control.web.pages import Pages
from codex_lb.control.web.sign_in import SignIn, link_of
from codex_lb.kit.clock import Clock
from codex_lb.kit.ids import new_id
from codex_lb.kit.sockets import url_of

SECRET_BYTES = 32


def make_web_access(state: State, settings: ControlSettings, clock: Clock) -> WebAccess:
    """How people get in and out."""
    fixed = settings.dashboard_bootstrap_token
    return WebAccess(
        state.store,
        state.vault,
        clock,
        fixed_secret=WebSecret(fixed.get_secret_value()) if fixed is not None else None,
        new_id=new_id,
        new_secret=new_web_secret,
    )


def make_web_access_face(access: WebAccess, settings: ControlSettings, web_url: str | None) -> WebAccessRpc:
    """The face of links and sessions."""
    return WebAccessRpc(access, url_of=partial(link_of, base_url_of(settings, web_url)))


async def sign_in_link_of(access: WebAccess, settings: ControlSettings, web_url: str | None) -> str | None:
    """What the first visitor needs; None where the environment fixes the token. Raises StoreUnavailableError."""
    invitation = await access.invite()
    return link_of(base_url_of(settings, web_url), invitation.secret) if invitation.secret else None


def base_url_of(settings: ControlSettings, web_url: str | None) -> str:
    """Where browsers find control's pages."""
    return settings.dashboard_url or web_url or url_of(*settings.http_address)


def make_web(
    state: State, faces: Sequence[Face], access: WebAccess, settings: ControlSettings, clock: Clock
) -> ASGIApp:
    """The same services that gRPC serves, and the pages."""
    doorman = Doorman(settings, access, clock)
    glance = TakeGlance(state.pool, state.leases, state.key_book, state.book, clock, version=version("codex-lb"))
    return web_face(faces, doorman, SignIn(access, doorman), Pages(glance, doorman))


def new_web_secret() -> WebSecret:
    """256 random bits."""
    return WebSecret(secrets.token_urlsafe(SECRET_BYTES))
