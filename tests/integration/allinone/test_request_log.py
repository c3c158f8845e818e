"""`codex-lb admin requests`, `report` and `trends` against a running product."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from tests.support.system import System, a_turn


async def test_a_turn_is_listed_shown_exported_and_added_up(system: System, tmp_path: Path) -> None:
    [ada] = await system.add("ada")
    answer = await system.client.post("/v1/responses", json=a_turn(), headers={"user-agent": "=cmd()"})
    await system.settled(turns=1)
    turn_id = answer.headers["x-request-id"]
    file = tmp_path / "log.csv"

    listed = await system.run("admin", "requests", "list", "--account", ada.email, "--since", "1h")
    none = await system.run("admin", "requests", "list", "--outcome", "broken", "--text", "nothing")
    shown = await system.run("admin", "requests", "show", turn_id)
    exported = await system.run("admin", "requests", "export", "-o", str(file))
    by_model = await system.run("admin", "report", "--by", "model", "--csv")
    by_account = await system.run("admin", "report", "--by", "account")
    trends = await system.run("admin", "trends", "--json")

    assert turn_id in listed.out
    assert "completed" in listed.out
    assert none.out == "No such request is in the log.\n"
    assert "in all, queue" in shown.out
    assert exported.out == ""
    [row] = csv.DictReader(file.read_text().splitlines())
    assert (row["request"], row["account_name"], row["client"]) == (turn_id, ada.email, "'=cmd()")
    [model] = csv.DictReader(io.StringIO(by_model.out))
    assert (model["turns"], model["cost_usd"]) == ("1", row["cost_usd"])
    assert float(row["cost_usd"]) > 0
    assert ada.email in by_account.out
    [trend] = json.loads(trends.out)["trends"]
    assert [int(day["turns"]) for day in trend["days"]][-2:].count(1) == 1


async def test_what_cannot_be_understood_is_one_sentence(system: System) -> None:
    unclear = await system.run("admin", "report", "--since", "soon")
    unknown = await system.run("admin", "requests", "show", "nothing")

    assert unclear.err.startswith("codex-lb: soon is no time")
    assert unknown.err.startswith("codex-lb: The log has no request 'nothing'")
