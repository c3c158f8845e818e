"""Whether a service lives, has started and can serve, and the routes on which it says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

Check: TypeAlias = Callable[[], str | None]
"""Says in a few words why it is not well, or None."""

OK = "ok"


class Health:
    """What is known about a service: started or not, draining or not, and named checks."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {"started": lambda: "still starting"}
        self._vital: set[str] = set()

    def add(self, name: str, check: Check, *, is_vital: bool = False) -> None:
        """The service is ready only while `check` has nothing to say. It is asked at every probe: no waiting in it.

        A vital one says that only a restart helps: the service does not live while it has something to say.
        """
        self._checks[name] = check
        if is_vital:
            self._vital.add(name)

    def started(self) -> None:
        """The service serves."""
        self._checks["started"] = lambda: None

    def draining(self) -> None:
        """The service accepts nothing new; it is not ready from here on, but lives."""
        self._checks["draining"] = lambda: "stopping"

    @property
    def has_started(self) -> bool:
        return self._checks["started"]() is None

    @property
    def is_ready(self) -> bool:
        return all(check() is None for check in self._checks.values())

    def states(self) -> dict[str, str]:
        """Every check with `ok` or its reason."""
        return {name: check() or OK for name, check in self._checks.items()}

    def vital_states(self) -> dict[str, str]:
        """Every vital check with `ok` or its reason."""
        return {name: state for name, state in self.states().items() if name in self._vital}


def health_routes(health: Health) -> list[Route]:
    """`/health` and `/health/ready` (send traffic?), `/health/live` (restart?), `/health/startup` (wait longer?)."""

    async def ready(_request: Request) -> JSONResponse:
        return _answer(health.states())

    async def live(_request: Request) -> JSONResponse:
        return _answer(health.vital_states())  # that we can answer is most of it

    async def startup(_request: Request) -> JSONResponse:
        return _answer({"started": health.states()["started"]})

    return [
        Route("/health", ready),
        Route("/health/ready", ready),
        Route("/health/live", live),
        Route("/health/startup", startup),
    ]


def _answer(checks: dict[str, str]) -> JSONResponse:
    well = all(state == OK for state in checks.values())
    return JSONResponse({"status": OK if well else "unavailable", "checks": checks}, 200 if well else 503)
