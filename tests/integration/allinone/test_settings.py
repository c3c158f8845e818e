"""`codex-lb admin settings` against a running product."""

from __future__ import annotations

import json

from tests.support.system import System


async def test_settings_are_changed_shown_and_given_back(system: System) -> None:
    changed = await system.run(
        "admin",
        "settings",
        "set",
        "routing_strategy=round_robin",
        "allowed_client_cidrs=127.0.0.0/8, ::1/128",
        "prefer_earlier_reset=off",
    )
    listed = await system.run("admin", "settings", "list", "--json")
    reset = await system.run("admin", "settings", "reset", "routing_strategy")

    assert changed.code == 0
    assert "round_robin" in changed.out
    found = json.loads(listed.out)
    assert found["routingStrategy"] == "ROUTING_STRATEGY_ROUND_ROBIN"
    assert found["allowedClientCidrs"] == ["127.0.0.0/8", "::1/128"]
    assert "capacity_weighted" in reset.out


async def test_what_control_refuses_is_one_sentence(system: System) -> None:
    refused = await system.run("admin", "settings", "set", "allowed_client_cidrs=here")

    assert refused.code == 1
    assert "settings.allowed_client_cidrs" in refused.err
