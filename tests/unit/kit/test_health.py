"""What probes are told."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette

from codex_lb.kit.health import Health, health_routes


@pytest.fixture
def health() -> Health:
    return Health()


async def asked(health: Health, path: str) -> tuple[int, object]:
    app = Starlette(routes=health_routes(health))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.get(path)
    return answer.status_code, answer.json()


async def test_a_starting_service_lives_but_has_not_started(health: Health) -> None:
    starting = {"status": "unavailable", "checks": {"started": "still starting"}}

    assert await asked(health, "/health/live") == (200, {"status": "ok", "checks": {}})
    assert await asked(health, "/health/startup") == (503, starting)
    assert await asked(health, "/health/ready") == (503, starting)


async def test_a_started_service_is_ready_when_every_check_is_content(health: Health) -> None:
    health.add("control", lambda: None)
    health.started()

    assert health.is_ready
    for path in ("/health", "/health/ready"):
        assert await asked(health, path) == (200, {"status": "ok", "checks": {"started": "ok", "control": "ok"}})


async def test_a_check_that_is_not_content_names_its_reason_and_does_not_touch_the_start(health: Health) -> None:
    health.started()
    health.add("control", lambda: "away for 12 s")

    assert await asked(health, "/health/startup") == (200, {"status": "ok", "checks": {"started": "ok"}})
    assert await asked(health, "/health") == (
        503,
        {"status": "unavailable", "checks": {"started": "ok", "control": "away for 12 s"}},
    )


async def test_a_draining_service_lives_but_is_not_ready(health: Health) -> None:
    health.started()
    health.draining()

    assert await asked(health, "/health/live") == (200, {"status": "ok", "checks": {}})
    assert (await asked(health, "/health/ready"))[0] == 503
    assert health.has_started
    assert not health.is_ready


async def test_a_vital_check_that_is_not_content_asks_for_a_restart(health: Health) -> None:
    health.started()
    trouble: list[str] = []
    health.add("loop", lambda: trouble[0] if trouble else None, is_vital=True)
    assert await asked(health, "/health/live") == (200, {"status": "ok", "checks": {"loop": "ok"}})

    trouble.append("stood still for 31 s")

    assert await asked(health, "/health/live") == (
        503,
        {"status": "unavailable", "checks": {"loop": "stood still for 31 s"}},
    )
