"""What a real Redis answers, and what is made of it."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from codex_lb.kit.clock import SystemClock
from codex_lb.kit.redis import RedisAwayError, Script, open_redis
from tests.support.redis_server import PATIENCE_S, RedisServer, redis_server

__all__ = ["redis_server"]


async def test_what_redis_refuses_is_told_once_in_a_while_for_it_will_not_go_away_by_itself(
    redis_server: RedisServer,
) -> None:
    wrong = Script.of("return redis.call('NOSUCHCOMMAND')")

    async with open_redis(redis_server.url, SystemClock(), deadline_s=PATIENCE_S) as link:
        with capture_logs() as logged:
            for _ in range(2):
                with pytest.raises(RedisAwayError, match="ResponseError"):
                    await link.run(wrong, "{test}:")

    assert [line["event"] for line in logged] == ["redis refuses commands"]
