"""The real OpenCode through the product: its own provider (Responses) and the compatible one (Chat Completions)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from tests.support.clients import OpenCode
from tests.support.system import System
from tests.support.upstream import Step, failed, limit, overloaded, unauthorized

pytestmark = pytest.mark.client_full

Provider = Literal["openai", "compatible"]
TOOL = '<<tool:bash:{"command":"echo from-$((40+2))","description":"a test"}>>'


@pytest.fixture(params=["openai", "compatible"])
def provider(request: pytest.FixtureRequest) -> Provider:
    """Both ways in which OpenCode can be set up."""
    return request.param  # type: ignore[no-any-return]


async def test_opencode_is_answered(product: System, tmp_path: Path, provider: Provider) -> None:
    await product.add("a")

    run = await OpenCode(tmp_path, product.base_url, provider).ask("<<say:hello from the pool>> hi")

    assert (run.code, run.text, run.errors) == (0, "hello from the pool", [])
    assert await product.upstream.violations() == []


async def test_opencode_names_a_session_by_a_model_nobody_set_up(product: System, tmp_path: Path) -> None:
    await product.add("a")

    run = await OpenCode(tmp_path, product.base_url, "openai").ask("<<say:hello>> hi", title=None)

    assert (run.code, run.text, run.errors) == (0, "hello", [])
    assert await product.upstream.violations() == []


async def test_opencode_runs_a_tool_and_goes_on_with_what_was_thought(
    product: System, tmp_path: Path, provider: Provider
) -> None:
    await product.add("a")

    run = await OpenCode(tmp_path, product.base_url, provider).ask(f"{TOOL} <<say:done>> go")

    assert (run.code, run.text, run.errors) == (0, "done", [])
    assert run.tool_outputs == ["from-42"]
    first, second = await product.upstream.turns()
    assert thoughts_of(second.body) == thoughts_said(first.answer)
    assert await product.upstream.violations() == []


async def test_opencode_continues_a_session(product: System, tmp_path: Path, provider: Provider) -> None:
    await product.add("a", "b", "c")
    opencode = OpenCode(tmp_path, product.base_url, provider)

    first = await opencode.ask("<<say:FIRST>> one")
    second = await opencode.ask("<<say:SECOND>> two", "-c")

    assert (first.text, second.text, second.errors) == ("FIRST", "SECOND", [])
    one, two = await product.upstream.turns()
    assert "FIRST" in json.dumps(two.body)
    # The compatible provider sends back the text of what was thought, and no id to find the rest by.
    assert thoughts_of(two.body) == (thoughts_said(one.answer) if provider == "openai" else [])
    assert one.account == two.account
    assert await product.upstream.violations() == []


@pytest.mark.parametrize("step", [limit(), unauthorized(), overloaded(), failed("server_error")], ids=str)
async def test_opencode_notices_nothing_of_an_account_that_fails(
    product: System, tmp_path: Path, provider: Provider, step: Step
) -> None:
    await product.add("bad", "good")
    await product.upstream.script("bad", then=step)
    opencode = OpenCode(tmp_path, product.base_url, provider)

    runs = [await opencode.ask("<<say:well>> hi") for _ in range(2)]

    assert [(r.code, r.text, r.errors) for r in runs] == [(0, "well", [])] * 2


def thoughts_of(body: dict[str, object]) -> list[str]:
    """The encrypted reasoning that a request carries."""
    items = body["input"]
    assert isinstance(items, list)
    return [item["encrypted_content"] for item in items if item.get("type") == "reasoning"]


def thoughts_said(answer: bytes) -> list[str]:
    """The encrypted reasoning of an answer."""
    events = [json.loads(line[6:]) for line in answer.split(b"\n") if line.startswith(b"data: {")]
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    return [item["encrypted_content"] for item in items if item["type"] == "reasoning"]
