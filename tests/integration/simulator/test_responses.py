"""A turn over HTTP: what a good answer holds, and what is refused."""

import gzip
from typing import Any

import httpx
import msgspec
import pytest
import zstandard

from tests.integration.simulator.turns import RESPONSES, a_turn, create, events, items, kinds, signed
from tests.support.upstream import Upstream

SEALED: dict[str, Any] = {"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]}


async def test_a_good_answer_streams_from_created_to_completed(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")

    answer = await create(client, account, "<<say:hello there>>", **SEALED)

    assert answer.status_code == 200
    seen = kinds(answer.content)
    assert seen[:2] == ["response.created", "response.in_progress"]
    assert seen.count("response.output_text.delta") == 2
    assert seen[-1] == "response.completed"
    done = events(answer.content)[-1]["response"]
    assert done["output"] == []
    assert done["usage"]["output_tokens_details"] == {"reasoning_tokens": 16}
    assert [item["type"] for item in items(answer.content)] == ["reasoning", "message"]
    assert [event["sequence_number"] for event in events(answer.content)] == list(range(len(seen)))


async def test_the_journal_holds_what_was_asked_and_every_byte_of_the_answer(
    upstream: Upstream, client: httpx.AsyncClient
) -> None:
    account = await upstream.add_account("a")

    answer = await create(client, account, "what is kept?")

    turn = await upstream.turn(account="a")
    assert turn.answer == answer.content
    assert turn.body["input"][0]["content"][0]["text"] == "what is kept?"
    assert turn.header("ChatGPT-Account-Id") == account.account_id
    assert (turn.status, turn.ended, turn.is_open) == (200, "complete", False)
    assert turn.response_id == events(answer.content)[0]["response"]["id"]


async def test_tools_are_called_one_after_another_and_then_the_text_comes(
    upstream: Upstream, client: httpx.AsyncClient
) -> None:
    account = await upstream.add_account("a")
    body = a_turn('<<tool:shell:{"command":"ls"}>><<custom:exec:print(1)>><<say:all done>>')

    said: list[dict[str, Any]] = []
    for _ in range(3):
        answer = await client.post(RESPONSES, headers=signed(account), json=body)
        said += items(answer.content)
        output = {"type": f"{said[-1]['type']}_output", "call_id": said[-1].get("call_id"), "output": "ok"}
        body["input"] += [said[-1], output]

    assert [item["type"] for item in said] == ["function_call", "custom_tool_call", "message"]
    assert said[0]["arguments"] == '{"command":"ls"}'
    assert said[1]["input"] == "print(1)"
    assert said[2]["content"][0]["text"] == "all done"


async def test_a_compaction_trigger_is_answered_with_one_compaction(
    upstream: Upstream, client: httpx.AsyncClient
) -> None:
    account = await upstream.add_account("a")
    body = a_turn()
    body["input"].append({"type": "compaction_trigger"})

    answer = await client.post(RESPONSES, headers=signed(account), json=body)

    assert [item["type"] for item in items(answer.content)] == ["compaction"]


async def test_a_wanted_schema_is_satisfied(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "size": {"type": "integer"}}}

    form = {"type": "json_schema", "name": "city", "strict": True, "schema": schema}
    answer = await create(client, account, "<<say:Bonn>>", text={"format": form})

    text = items(answer.content)[-1]["content"][0]["text"]
    assert msgspec.json.decode(text) == {"city": "Bonn", "size": 7}


@pytest.mark.parametrize("encoding", ["zstd", "gzip"])
async def test_packed_bodies_are_read(upstream: Upstream, client: httpx.AsyncClient, encoding: str) -> None:
    account = await upstream.add_account("a")
    plain = msgspec.json.encode(a_turn("packed"))
    packed = zstandard.compress(plain) if encoding == "zstd" else gzip.compress(plain)

    headers = signed(account, **{"content-encoding": encoding, "content-type": "application/json"})
    answer = await client.post(RESPONSES, headers=headers, content=packed)

    assert answer.status_code == 200
    assert (await upstream.turn()).body == a_turn("packed")


async def test_cached_tokens_are_the_longest_prefix_this_account_has_seen(
    upstream: Upstream, client: httpx.AsyncClient
) -> None:
    first, second = await upstream.add_account("a"), await upstream.add_account("b")
    body = a_turn("a long story", instructions="be brief")
    longer = {**body, "input": [*body["input"], {"role": "user", "content": "go on"}]}

    usages = []
    for account, asked in ((first, body), (first, longer), (second, longer)):
        answer = await client.post(RESPONSES, headers=signed(account), json=asked)
        usages.append(events(answer.content)[-1]["response"]["usage"])

    cached = [usage["input_tokens_details"]["cached_tokens"] for usage in usages]
    assert cached == [0, usages[0]["input_tokens"], 0]
    assert usages[1]["input_tokens"] == usages[2]["input_tokens"] > usages[0]["input_tokens"]


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"stream": False}, "Stream must be set to true"),
        ({"store": True}, "Store must be set to false"),
        ({"input": "hello"}, "Input must be a list"),
        ({"input": [{"role": "system", "content": "x"}]}, "System messages are not allowed"),
        ({"temperature": 1}, "Unsupported parameter: temperature"),
        ({"max_output_tokens": 10}, "Unsupported parameter: max_output_tokens"),
        ({"model": "gpt-3"}, "The 'gpt-3' model is not supported when using Codex with a ChatGPT account."),
    ],
)
async def test_what_the_real_one_refuses_is_refused(
    upstream: Upstream, client: httpx.AsyncClient, change: dict[str, Any], detail: str
) -> None:
    account = await upstream.add_account("a")

    answer = await client.post(RESPONSES, headers=signed(account), json={**a_turn(), **change})

    assert answer.status_code == 400
    assert answer.json() == {"detail": detail}
    assert (await upstream.turn()).ended == "refused"


async def test_an_item_reference_is_refused(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")

    answer = await create(client, account, input=[{"type": "item_reference", "id": "msg_1"}])

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("Item with id 'msg_1' not found.")


async def test_a_token_that_was_never_issued_is_refused(upstream: Upstream, client: httpx.AsyncClient) -> None:
    await upstream.add_account("a")

    answer = await client.post(RESPONSES, headers={"authorization": "Bearer nonsense"}, json=a_turn())

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "token_expired"


async def test_an_account_header_that_is_not_the_tokens_is_a_violation(
    upstream: Upstream, client: httpx.AsyncClient
) -> None:
    first, second = await upstream.add_account("a"), await upstream.add_account("b")

    headers = signed(first, **{"chatgpt-account-id": second.account_id})
    answer = await client.post(RESPONSES, headers=headers, json=a_turn())

    assert answer.status_code == 401
    assert [violation.kind for violation in await upstream.violations()] == ["account_mismatch"]


@pytest.mark.parametrize(
    "leak",
    [{"x-forwarded-for": "10.0.0.1"}, {"forwarded": "for=10.0.0.1"}, {"cookie": "a=b"}, {"x-api-key": "sk-clb-abc"}],
)
async def test_a_header_that_tells_of_the_proxy_is_a_violation(
    upstream: Upstream, client: httpx.AsyncClient, leak: dict[str, str]
) -> None:
    account = await upstream.add_account("a")

    answer = await client.post(RESPONSES, headers=signed(account, **leak), json=a_turn())

    assert answer.status_code == 400
    assert [(one.kind, one.detail) for one in await upstream.violations()] == [("leaked_header", next(iter(leak)))]


async def test_an_api_key_of_ours_as_the_token_is_a_violation(upstream: Upstream, client: httpx.AsyncClient) -> None:
    await client.post(RESPONSES, headers={"authorization": "Bearer sk-clb-abc"}, json=a_turn())

    assert [(one.kind, one.detail) for one in await upstream.violations()] == [("leaked_header", "authorization")]


async def test_ciphertext_of_another_account_cannot_be_read(upstream: Upstream, client: httpx.AsyncClient) -> None:
    first, second = await upstream.add_account("a"), await upstream.add_account("b")
    body = a_turn(**SEALED)
    body["input"] += items((await create(client, first, **SEALED)).content)

    own = await client.post(RESPONSES, headers=signed(first), json=body)
    foreign = await client.post(RESPONSES, headers=signed(second), json=body)

    assert own.status_code == 200
    assert foreign.status_code == 400
    assert foreign.json()["error"]["code"] == "invalid_encrypted_content"
    assert [(one.kind, one.account) for one in await upstream.violations()] == [("foreign_ciphertext", "b")]


async def test_turn_state_of_another_account_is_a_violation(upstream: Upstream, client: httpx.AsyncClient) -> None:
    first, second = await upstream.add_account("a"), await upstream.add_account("b")
    state = (await create(client, first)).headers["x-codex-turn-state"]

    own = await client.post(RESPONSES, headers=signed(first, **{"x-codex-turn-state": state}), json=a_turn())
    await client.post(RESPONSES, headers=signed(second, **{"x-codex-turn-state": state}), json=a_turn())

    assert own.headers["x-codex-turn-state"] == state
    assert [(one.kind, one.account) for one in await upstream.violations()] == [("foreign_turn_state", "b")]


async def test_over_http_no_response_is_remembered(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    known = events((await create(client, account)).content)[0]["response"]["id"]

    answer = await create(client, account, previous_response_id=known)

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "previous_response_not_found"
