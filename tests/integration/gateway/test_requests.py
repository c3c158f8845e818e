"""What clients ask for, and what of it reaches upstream."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import zstandard

from codex_lb.gateway.leasing.policy import ListedModel
from tests.support.pair import Pair, start_pair
from tests.support.turns import codex_turn
from tests.support.upstream import Upstream

CODEX = "/backend-api/codex/responses"
ROUTES = [CODEX, "/v1/responses"]
IMAGE, LOST = "https://images.example.com/a.png", "https://images.example.com/lost.png"
AS_DATA = "data:image/png;base64," + b64encode(b"png").decode()
CATALOG = tuple(
    ListedModel(slug, json.dumps({"supported_reasoning_levels": [{"effort": "low"}, {"effort": "high"}]}).encode())
    for slug in ("gpt-5.4", "gpt-5.5")
)


async def images(urls: Sequence[str]) -> dict[str, str]:
    """Has one image."""
    return {IMAGE: AS_DATA} if IMAGE in urls else {}


@pytest.fixture
async def pair(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Pair]:
    """With a catalog of two models, one account, and one image on the internet."""
    await upstream.reset(accounts=True)
    async with start_pair(upstream, tmp_path, fetch_images=images) as pair:
        await pair.add("a")
        policies = pair.gateway.policies
        policies.policy = replace(policies.policy, models=CATALOG)
        yield pair


async def sent_by(pair: Pair) -> dict[str, Any]:
    """The body that upstream got."""
    body: dict[str, Any] = (await pair.upstream.turn()).body
    return body


@pytest.mark.parametrize("route", ROUTES)
async def test_a_variants_name_becomes_a_model_and_clients_are_not_told_of_another_model(
    pair: Pair, route: str
) -> None:
    answer = await pair.client.post(route, json=codex_turn("<<say:hello>>", model="gpt-5.4-high-fast"))

    assert b"hello" in answer.content
    assert "openai-model" not in answer.headers
    sent = await sent_by(pair)
    assert (sent["model"], sent["reasoning"], sent["service_tier"]) == ("gpt-5.4", {"effort": "high"}, "priority")


@pytest.mark.parametrize("route", ROUTES)
async def test_a_variants_name_means_the_same_over_a_socket(pair: Pair, route: str) -> None:
    frame = {
        "type": "response.create",
        **codex_turn("<<say:hello>>", model="gpt-5.4-fast", reasoning={"effort": "minimal"}),
    }

    async with aiohttp.ClientSession() as session, session.ws_connect(pair.base_url + route) as socket:
        await socket.send_json(frame)
        async with asyncio.timeout(10):
            while (await socket.receive_json())["type"] != "response.completed":
                pass

    sent = await sent_by(pair)
    assert (sent["model"], sent["reasoning"], sent["service_tier"]) == ("gpt-5.4", {"effort": "low"}, "priority")


@pytest.mark.parametrize("route", ROUTES)
async def test_a_model_of_the_catalog_is_nobodys_variant(pair: Pair, route: str) -> None:
    answer = await pair.client.post(route, json=codex_turn("<<say:hello>>"))

    assert answer.headers["openai-model"] == "gpt-5.5"
    assert (await sent_by(pair))["model"] == "gpt-5.5"


async def test_a_chat_shaped_conversation_is_understood_by_responses(pair: Pair) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "<<say:hello>>"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "done"},
    ]

    answer = await pair.client.post(
        "/v1/responses",
        json={
            "model": "gpt-5.5",
            "messages": messages,
            "reasoningEffort": "minimal",
            "promptCacheKey": "k",
            "user": "u",
        },
    )

    assert answer.status_code == 200
    sent = await sent_by(pair)
    assert [item["type"] for item in sent["input"]] == ["message", "message", "function_call", "function_call_output"]
    assert (sent["reasoning"], sent["prompt_cache_key"]) == ({"effort": "low"}, "k")


@pytest.mark.parametrize(
    ("members", "code", "param"),
    [
        ({"include": ["everything"]}, "invalid_request_error", "include"),
        ({"truncation": "sometimes"}, "invalid_request_error", "truncation"),
        ({"previous_response_id": "r", "conversation": "c"}, "invalid_request_error", "previous_response_id"),
        ({"messages": []}, "invalid_request_error", "messages"),
        ({"input": [{"type": "item_reference", "id": "rs_1"}]}, "invalid_request_error", "input[0]"),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "strict": True, "schema": {"type": "object"}}}},
            "invalid_json_schema",
            "text.format.schema",
        ),
        (
            {"tools": [{"type": "function", "name": "f", "strict": True, "parameters": {"type": "object"}}]},
            "invalid_function_parameters",
            "tools[0].parameters",
        ),
    ],
    ids=str.split("include truncation two-ways-on two-inputs item-reference schema function"),
)
async def test_what_upstream_would_refuse_is_refused_at_once(
    pair: Pair, members: dict[str, object], code: str, param: str
) -> None:
    answer = await pair.client.post("/v1/responses", json={"model": "gpt-5.5", "input": "hi", **members})

    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error["code"], error["param"]) == (code, param)
    assert await pair.upstream.turns() == []


@pytest.mark.parametrize("route", ROUTES)
async def test_images_are_sent_instead_of_their_urls(pair: Pair, route: str) -> None:
    parts = [{"type": "input_text", "text": "<<say:hello>>"}] + [
        {"type": "input_image", "image_url": url, "detail": "low"} for url in (IMAGE, LOST, IMAGE)
    ]
    turn = codex_turn(input=[{"type": "message", "role": "user", "content": parts}], odd=1.50)

    answer = await pair.client.post(
        route, content=zstandard.compress(json.dumps(turn).encode()), headers={"content-encoding": "zstd"}
    )

    assert b"hello" in answer.content
    sent = await sent_by(pair)
    assert [part.get("image_url") for part in sent["input"][0]["content"]] == [None, AS_DATA, LOST, AS_DATA]
    assert {**sent, "input": 0, "instructions": 0} == {**turn, "input": 0, "instructions": 0}


async def test_a_chat_request_names_models_and_images_likewise(pair: Pair) -> None:
    parts = [{"type": "text", "text": "<<say:hello>>"}] + [
        {"type": "image_url", "image_url": {"url": url}} for url in (IMAGE, LOST)
    ]
    chat = {"model": "gpt-5.4-high-fast", "messages": [{"role": "user", "content": parts}]}

    answer = await pair.client.post("/v1/chat/completions", json=chat)

    assert answer.json()["choices"][0]["message"]["content"] == "hello"
    sent = await sent_by(pair)
    assert [part.get("image_url") for part in sent["input"][0]["content"]] == [None, AS_DATA, LOST]
    assert (sent["model"], sent["reasoning"]["effort"], sent["service_tier"]) == ("gpt-5.4", "high", "priority")


async def test_without_an_image_the_bytes_of_codex_arrive_as_they_were(pair: Pair) -> None:
    body = json.dumps(codex_turn("<<say:hello>> https://images.example.com/a.png"), indent=1).encode()

    await pair.client.post(CODEX, content=body)

    seen = await pair.upstream.turn()
    assert (seen.body, seen.body_bytes) == (json.loads(body), len(body))


async def test_a_url_that_leads_into_the_network_stays_a_url(upstream: Upstream, tmp_path: Path) -> None:
    await upstream.reset(accounts=True)
    url = upstream.base_url.replace("http://", "https://") + "/backend-api/wham/usage"
    part = {"type": "input_image", "image_url": url}
    async with start_pair(upstream, tmp_path) as pair:
        await pair.add("a")

        await pair.client.post(CODEX, json=codex_turn(input=[{"role": "user", "content": [part]}]))

        assert (await sent_by(pair))["input"][0]["content"] == [part]
    assert [row.kind for row in await upstream.log("usage", "unknown")] == []
