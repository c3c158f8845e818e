"""What people meet over HTTP."""

from __future__ import annotations

from importlib.metadata import version

from starlette.types import ASGIApp

from codex_lb.control.assembly.admin_side import AdminSide
from codex_lb.control.assembly.state import State
from codex_lb.control.settings import ControlSettings
from codex_lb.control.usecases.glance import TakeGlance
from codex_lb.control.web.doorman import Doorman
from codex_lb.control.web.face import web_face
from codex_lb.kit.clock import Clock


def make_web(state: State, admin_side: AdminSide, settings: ControlSettings, clock: Clock) -> ASGIApp:
    """The same services that gRPC serves, and the pages."""
    glance = TakeGlance(state.pool, state.leases, clock, version=version("codex-lb"))
    return web_face(admin_side.faces, Doorman(settings, clock), glance)
