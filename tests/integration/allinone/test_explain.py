"""`codex-lb admin explain` and `simulate` against a running product."""

from __future__ import annotations

import json

from tests.support.system import System, a_turn
from tests.support.upstream import limit


async def test_a_turn_that_moved_is_explained_by_its_request_id(system: System) -> None:
    await system.add("ada", "alan")
    await system.run("admin", "settings", "set", "routing_strategy=round_robin")
    await system.upstream.script("ada", limit(resets_in_s=600))
    answer = await system.client.post("/v1/responses", json=a_turn())
    await system.settled(turns=1)

    told = await system.run("admin", "explain", answer.headers["x-request-id"])

    assert answer.status_code == 200
    assert "1. ada@" in told.out
    assert "usage_limit_reached (blamed on: account)" in told.out
    assert "2. alan@" in told.out
    assert "chosen by round_robin; 1 of 2 accounts could serve" in told.out


async def test_a_refusal_says_what_stood_in_the_way(system: System) -> None:
    [ada] = await system.add("ada")
    await system.run("admin", "accounts", "pause", ada.email)
    answer = await system.client.post("/v1/responses", json=a_turn())
    await system.settled(turns=1)

    told = await system.run("admin", "explain", answer.headers["x-request-id"])
    unknown = await system.run("admin", "explain", "req_nobody_made")

    assert answer.status_code == 503
    assert "No lease" in told.out
    assert "passed over: 1 paused" in told.out
    assert unknown.code == 1
    assert "x-request-id" in unknown.err


async def test_another_strategy_is_tried_on_what_was_recorded(system: System) -> None:
    await system.add("ada", "alan")
    await system.run("admin", "settings", "set", "routing_strategy=fill_first")
    for number in range(4):
        await system.client.post("/v1/responses", json=a_turn(f"Say {number}"))
    await system.settled(turns=4)

    replayed = await system.run("admin", "simulate", "--strategy", "round_robin", "--no-prefer-earlier-reset", "--json")
    misspelt = await system.run("admin", "simulate", "--strategy", "robin")

    found = json.loads(replayed.out)
    shares = [account.get("leasesSimulated", 0) for account in found["accounts"]]
    assert sum(shares) == found["leases"] >= 4
    assert max(shares) - min(shares) <= 1, "round robin deals them out evenly"
    assert "is one of: capacity_weighted" in misspelt.err
