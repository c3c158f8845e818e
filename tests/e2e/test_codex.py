"""The real Codex CLI through the product, configured as the README says."""

from __future__ import annotations

from pathlib import Path

import pytest

from codex_lb.api.admin.v1.account_service_pb2 import ACCOUNT_STATUS_ACTIVE, ACCOUNT_STATUS_RATE_LIMITED
from tests.support.codex import Codex
from tests.support.system import System
from tests.support.upstream import cut_before_output, failed, limit, overloaded, unauthorized

pytestmark = pytest.mark.client


async def test_codex_gets_its_answer_from_the_second_account_when_the_first_is_limited(
    product: System, tmp_path: Path
) -> None:
    limited, other = await product.add("limited", "other")
    await product.upstream.script("limited", then=limit(resets_in_s=3600))
    codex = Codex(tmp_path, product.base_url)

    # The draw between two fresh accounts is random: ask until the limited one has been met.
    asked = 0
    while not any(turn.account == "limited" for turn in await product.upstream.turns()):
        asked += 1
        assert asked < 20
        run = await codex.exec("<<say:hello from the pool>>")
        assert (run.code, run.messages, run.errors) == (0, ["hello from the pool"], [])
    await product.settled(turns=asked)

    assert (await product.account(other)).status == ACCOUNT_STATUS_ACTIVE
    resting = await product.account(limited)
    assert resting.status == ACCOUNT_STATUS_RATE_LIMITED
    assert resting.HasField("status_until")
    turns = product.query("select turn_id, account_id, outcome, input_tokens, output_tokens, attempts from turns")
    assert len(turns) == asked
    _, account_id, outcome, input_tokens, output_tokens, attempts = turns[-1]
    assert f"accounts/{account_id}" == (await product.account(other)).name
    assert (outcome, attempts) == ("completed", 2)
    assert input_tokens > 0  # type: ignore[operator]
    assert output_tokens > 0  # type: ignore[operator]


@pytest.mark.parametrize(
    "step", [unauthorized(), overloaded(), failed("server_error"), cut_before_output()], ids=lambda s: str(s)[:30]
)
async def test_codex_notices_nothing_of_an_account_that_fails(product: System, tmp_path: Path, step: str) -> None:
    await product.add("bad", "good")
    await product.upstream.script("bad", then=step)
    codex = Codex(tmp_path, product.base_url)

    runs = [await codex.exec("<<say:well>>") for _ in range(3)]

    assert [(r.code, r.messages, r.errors) for r in runs] == [(0, ["well"], [])] * 3


async def test_codex_runs_a_tool_and_goes_on(product: System, tmp_path: Path) -> None:
    await product.add("a")
    codex = Codex(tmp_path, product.base_url, model="gpt-5.5")

    run = await codex.exec('<<tool:exec_command:{"cmd":"echo from-the-shell"}>> <<say:done>>', "--sandbox", "read-only")

    ran = [e["item"] for e in run.events if e["type"] == "item.completed" and e["item"]["type"] == "command_execution"]
    assert [item["aggregated_output"].strip() for item in ran] == ["from-the-shell"]
    assert (run.code, run.messages[-1]) == (0, "done")
    assert await product.upstream.violations() == []


async def test_codex_resumes_a_session(product: System, tmp_path: Path) -> None:
    await product.add("a")
    codex = Codex(tmp_path, product.base_url)
    first = await codex.exec("<<say:first>>")

    second = await codex.run("exec", "--json", "--skip-git-repo-check", "resume", "--last", "<<say:second>>")

    assert (first.messages, second.messages) == (["first"], ["second"])
    assert second.errors == []


async def test_codex_shows_a_spent_pool_at_once_and_until_when(product: System, tmp_path: Path) -> None:
    await product.add("a", "b")
    for name in "ab":
        await product.upstream.script(name, then=limit(resets_in_s=3600))
    codex = Codex(tmp_path, product.base_url)

    run = await codex.exec("hi")

    assert run.code == 1
    assert "usage limit" in str(run.events)
    assert "try again at" in str(run.events)
    assert len(await product.upstream.turns()) == 2


async def test_codex_finds_a_model_list_it_can_read(product: System, tmp_path: Path) -> None:
    await product.add("a")
    await product.models_known()

    catalog = await product.client.get("/backend-api/codex/v1/models")

    assert catalog.status_code == 200
    assert all({"truncation_policy", "experimental_supported_tools"} <= set(m) for m in catalog.json()["models"])
