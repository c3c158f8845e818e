"""The JavaScript SDKs through the product: openai-node, the AI SDK in its three dialects, the Agents SDK."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import scenario
from tests.support.system import System
from tests.support.upstream import Turn, cut_after

pytestmark = pytest.mark.client_full

AI_MODELS = ("responses", "chat", "compatible")
AI_SCENARIOS = {
    "generate": "hello",
    "stream": ["one two three", "stop"],
    "tools": "the tool said: 42",
    "stream_tools": "the tool said: 42",
}
OPENAI_SCENARIOS = {
    "chat": "hello",
    "chat_stream": "one two",
    "responses": "hello",
    "responses_stream": "one two",
    "parse": {"city": "Oslo"},
}


@pytest.mark.parametrize("model", AI_MODELS)
@pytest.mark.parametrize(("what", "expected"), AI_SCENARIOS.items())
async def test_the_ai_sdk_gets_what_it_asks_for(
    product: System, tmp_path: Path, model: str, what: str, expected: object
) -> None:
    await product.add("a")

    assert await scenario(f"ai.{model}.{what}", product.base_url, tmp_path) == expected
    assert await product.upstream.violations() == []


@pytest.mark.parametrize("model", ["responses", "chat"])
async def test_the_ai_sdk_gets_an_object_of_its_schema(product: System, tmp_path: Path, model: str) -> None:
    await product.add("a")

    got = await scenario(f"ai.{model}.object", product.base_url, tmp_path)

    assert got == {"city": "Lima", "size": 7.5}
    turn = await product.upstream.turn()
    assert turn.body["text"]["format"]["type"] == "json_schema"


async def test_the_ai_sdk_s_compatible_provider_asks_for_any_object(product: System, tmp_path: Path) -> None:
    """It sends no schema, so what it gets need not fit: here it does not, and the SDK says so."""
    await product.add("a")

    with pytest.raises(AssertionError, match="NoObjectGenerated"):
        await scenario("ai.compatible.object", product.base_url, tmp_path)

    turn = await product.upstream.turn()
    assert turn.body["text"]["format"] == {"type": "json_object"}
    assert await product.upstream.violations() == []


@pytest.mark.parametrize("name", ["ai.conversation", "ai.item_reference"])
async def test_a_conversation_keeps_its_thoughts_and_calls_whether_they_are_sent_or_named(
    product: System, tmp_path: Path, name: str
) -> None:
    await product.add("a", "b")

    said = await scenario(name, product.base_url, tmp_path)

    assert said == ["first", "the tool said: 42", "third"]
    turns = await product.upstream.turns()
    assert len(turns) == 4
    for turn, earlier in zip(turns, (turns[:n] for n in range(4)), strict=True):
        assert kept(turn, "reasoning", "encrypted_content") == said_in(earlier, "reasoning", "encrypted_content")
        assert kept(turn, "function_call", "call_id") == said_in(earlier, "function_call", "call_id")
        assert "item_reference" not in json.dumps(turn.body["input"])
    assert len({turn.account for turn in turns}) == 1
    assert await product.upstream.violations() == []


@pytest.mark.parametrize(("what", "expected"), OPENAI_SCENARIOS.items())
async def test_openai_node_gets_what_it_asks_for(product: System, tmp_path: Path, what: str, expected: object) -> None:
    await product.add("a")

    assert await scenario(f"openai.{what}", product.base_url, tmp_path) == expected
    assert await product.upstream.violations() == []


async def test_openai_node_lists_the_models(product: System, tmp_path: Path) -> None:
    await product.add("a")
    await product.models_known()

    assert "gpt-5.5" in await scenario("openai.models", product.base_url, tmp_path)


async def test_openai_node_sees_that_an_answer_was_cut(product: System, tmp_path: Path) -> None:
    await product.add("a")
    await product.upstream.script("a", then=cut_after(2500))

    last = await scenario("openai.cut", product.base_url, tmp_path)

    assert last in {"response.failed", "error", "APIError", "TypeError"}


async def test_the_agents_sdk_runs_a_tool_and_goes_on(product: System, tmp_path: Path) -> None:
    await product.add("a")

    assert await scenario("agents.tool", product.base_url, tmp_path) == "the tool said: 42"
    first, second = await product.upstream.turns()
    assert kept(second, "reasoning", "encrypted_content") == said_in([first], "reasoning", "encrypted_content")
    assert await product.upstream.violations() == []


def kept(turn: Turn, kind: str, name: str) -> list[Any]:
    """A member of every item of this kind that a request carries."""
    return [item[name] for item in turn.body["input"] if item.get("type") == kind]


def said_in(turns: list[Turn], kind: str, name: str) -> list[Any]:
    """The same of all that these answers said."""
    lines = [line for turn in turns for line in turn.answer.split(b"\n") if line.startswith(b"data: {")]
    events = [json.loads(line[6:]) for line in lines]
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    said = [item[name] for item in items if item["type"] == kind]
    assert all(said), "nothing that is empty can be kept"
    return said
