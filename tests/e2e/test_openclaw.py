"""The real OpenClaw through the product. Each run takes it 10 to 30 s."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.clients import OpenClaw
from tests.support.system import System
from tests.support.upstream import limit

pytestmark = pytest.mark.client_full


async def test_openclaw_is_answered(product: System, tmp_path: Path) -> None:
    await product.add("a")

    run = await OpenClaw(tmp_path, product.base_url).ask("<<say:hello from the pool>> hi")

    assert (run.code, run.text) == (0, "hello from the pool"), run.err[-500:]
    assert await product.upstream.violations() == []


async def test_openclaw_runs_a_tool_and_goes_on(product: System, tmp_path: Path) -> None:
    await product.add("a")

    run = await OpenClaw(tmp_path, product.base_url).ask('<<tool:exec:{"command":"echo from-$((40+2))"}>> <<say:done>>')

    assert (run.code, run.text) == (0, "done"), run.err[-500:]
    _, second = await product.upstream.turns()
    outputs = [json.dumps(i["output"]) for i in second.body["input"] if i.get("type") == "function_call_output"]
    assert ["from-42" in output for output in outputs] == [True]
    assert await product.upstream.violations() == []


async def test_openclaw_notices_nothing_of_an_account_that_is_limited_and_remembers(
    product: System, tmp_path: Path
) -> None:
    await product.add("bad", "good")
    await product.upstream.script("bad", then=limit())
    openclaw = OpenClaw(tmp_path, product.base_url)

    first = await openclaw.ask("<<say:FIRST>> one")
    second = await openclaw.ask("<<say:SECOND>> two")

    assert (first.text, second.text) == ("FIRST", "SECOND"), second.err[-500:]
    last = (await product.upstream.turns())[-1]
    assert "FIRST" in json.dumps(last.body)
