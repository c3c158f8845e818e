"""One port for everything: which path belongs to whom, as one table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from starlette.types import ASGIApp, Receive, Scope, Send


class Part(StrEnum):
    """Who answers."""

    GATEWAY = "gateway"
    CONTROL = "control"
    HEALTH = "health"
    UI = "ui"


# The first prefix that a path begins with, by whole segments, decides; what fits none is the UI's.
PATHS: tuple[tuple[str, Part], ...] = (
    ("/v1", Part.GATEWAY),
    ("/backend-api", Part.GATEWAY),
    ("/api/codex", Part.GATEWAY),
    ("/api", Part.CONTROL),
    ("/auth", Part.CONTROL),
    ("/health", Part.HEALTH),
)


def part_of(path: str) -> Part:
    """Whose a path is."""
    return next((part for prefix, part in PATHS if path == prefix or path.startswith(prefix + "/")), Part.UI)


class Edge:
    """Hands every request to the part that its path belongs to."""

    def __init__(self, apps: Mapping[Part, ASGIApp]) -> None:
        self._apps = dict(apps)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        await self._apps[part_of(scope["path"])](scope, receive, send)
