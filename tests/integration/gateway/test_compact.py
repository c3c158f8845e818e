"""Compaction: by a route of its own, or as any turn's last item."""

from __future__ import annotations

import json

import pytest
from openai import AsyncOpenAI

from tests.support.pair import Pair
from tests.support.turns import codex_turn, events_of
from tests.support.upstream import Step, cut_before_output, failed, http, limit, overloaded, unauthorized

CODEX = "/backend-api/codex/responses/compact"
PUBLIC = "/v1/responses/compact"
HISTORY = [
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hello"}]},
]
ASKED = {"model": "gpt-5.5", "instructions": "be brief", "input": HISTORY, "parallel_tool_calls": True}


@pytest.mark.parametrize("path", [CODEX, PUBLIC, "/backend-api/codex/v1/responses/compact"])
async def test_a_conversation_becomes_one_item(pair: Pair, path: str) -> None:
    await pair.add("a")
    more = {"tools": [], "tool_choice": "auto", "store": True, "text": {}, "client_metadata": {"a": "b"}, "kept": 1}

    answer = await pair.client.post(path, json={**ASKED, **more})

    made = answer.json()
    assert (answer.status_code, made["object"], made["status"]) == (200, "response.compaction", "completed")
    (item,) = made["output"]
    assert item["type"] == "compaction"
    assert item["encrypted_content"]
    assert made["usage"]["total_tokens"] > 0
    sent = (await pair.upstream.turn()).body
    assert sent["input"] == [*HISTORY, {"type": "compaction_trigger"}]
    assert (sent["stream"], sent["store"], sent["parallel_tool_calls"], sent["kept"]) == (True, False, False, 1)
    assert not sent.keys() & {"tools", "tool_choice", "text", "client_metadata"}
    assert await pair.upstream.violations() == []
    await pair.settled()


async def test_codex_is_given_the_item_and_little_else(pair: Pair) -> None:
    await pair.add("a")

    codex = (await pair.client.post(CODEX, json=ASKED)).json()
    public = (await pair.client.post(PUBLIC, json=ASKED)).json()

    assert codex.keys() == {"object", "id", "created_at", "status", "model", "usage", "service_tier", "output"}
    assert codex["output"][0].keys() == {"type", "encrypted_content", "id"}
    assert public.keys() > codex.keys()


async def test_the_python_sdk_compacts(pair: Pair) -> None:
    await pair.add("a")
    client = AsyncOpenAI(base_url=f"{pair.base_url}/v1", api_key="none", max_retries=0)

    made = await client.responses.compact(model="gpt-5.5", input="a long story")
    await client.close()

    assert made.object == "response.compaction"
    assert made.output[0].type == "compaction"
    assert (await pair.upstream.turn()).body["input"][-1] == {"type": "compaction_trigger"}


async def test_a_turn_that_asks_for_a_compaction_is_relayed_as_any_other(pair: Pair) -> None:
    await pair.add("a")
    turn = codex_turn()
    turn["input"] = [*HISTORY, {"type": "compaction_trigger"}]

    answer = await pair.client.post("/backend-api/codex/responses", json=turn)

    assert answer.content == (await pair.upstream.turn()).answer
    assert [e["item"]["type"] for e in events_of(answer.content) if e["type"] == "response.output_item.done"] == [
        "compaction"
    ]


MOVED: dict[str, Step] = {
    "429": limit(resets_in_s=3600),
    "401": unauthorized(),
    "overloaded": overloaded(),
    "cut": cut_before_output(),
    "failed": failed("usage_limit_reached"),
}


@pytest.mark.parametrize("step", MOVED.values(), ids=MOVED.keys())
async def test_a_compaction_moves_to_another_account(pair: Pair, step: Step) -> None:
    await pair.add("bad", "good")
    await pair.upstream.script("bad", then=step)

    answers = [await pair.client.post(CODEX, json=ASKED) for _ in range(3)]

    assert [a.status_code for a in answers] == [200] * 3
    await pair.settled()


async def test_a_trigger_in_the_middle_is_upstreams_to_refuse(pair: Pair) -> None:
    await pair.add("a")

    refused = await pair.client.post(CODEX, json={**ASKED, "input": [{"type": "compaction_trigger"}, *HISTORY]})

    assert (refused.status_code, "must be the last input item" in refused.text) == (400, True)


async def test_upstreams_own_refusal_reaches_the_client(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", failed("context_length_exceeded"), http(400, "invalid_prompt"))

    too_long, bad = [await pair.client.post(CODEX, json=ASKED) for _ in range(2)]

    assert (too_long.status_code, too_long.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert (bad.status_code, bad.json()["error"]["code"]) == (400, "invalid_prompt")


@pytest.mark.parametrize("path", [CODEX, PUBLIC])
@pytest.mark.parametrize(
    ("body", "param"),
    [(b"", None), (b"[]", None), (b'{"input":[]}', "model"), (b'{"model":"gpt-5.5"}', "input"), (b'{"model":"gpt-5.5","input":7}', "input")],
)  # fmt: skip
async def test_a_compaction_that_cannot_be_asked_is_a_400(
    pair: Pair, path: str, body: bytes, param: str | None
) -> None:
    answer = await pair.client.post(path, content=body)

    error = json.loads(answer.content)["error"]
    assert (answer.status_code, error["type"], error.get("param")) == (400, "invalid_request_error", param)
