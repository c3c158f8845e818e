"""Whatever keys spend, and whoever is killed or forgets when: a turn is granted exactly when there is room for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.databases import sqlite_template
from tests.support.redis_server import RedisServer, redis_server
from tests.support.spending.shared import play

__all__ = ["redis_server", "sqlite_template"]

STEPS = 400


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("where", ["memory", "redis"])
async def test_what_is_counted_is_what_the_ledger_says_after_hundreds_of_random_steps(
    where: str, seed: int, sqlite_template: Path, redis_server: RedisServer, tmp_path: Path
) -> None:
    server = redis_server if where == "redis" else None

    done = await play(STEPS, seed, tmp_path, sqlite_template, server)

    assert min(done["granted"], done["refused"], done["end_and_control_dies"], done["change_limits"]) > 0
