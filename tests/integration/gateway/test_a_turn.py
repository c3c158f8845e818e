"""One turn through gateway, lease and control to the simulator."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import zstandard
from openai import AsyncOpenAI

from codex_lb.api.admin.v1.account_service_pb2 import (
    ACCOUNT_STATUS_ACTIVE,
    ACCOUNT_STATUS_RATE_LIMITED,
    ACCOUNT_STATUS_REAUTH_REQUIRED,
)
from tests.support.pair import Pair
from tests.support.turns import codex_turn, events_of
from tests.support.upstream import (
    Step,
    cut_before_output,
    deactivated,
    failed,
    failed_first,
    html,
    http,
    limit,
    overloaded,
    rate_limited,
    refuse,
    unauthorized,
)

CODEX = "/backend-api/codex/responses"


async def test_the_client_gets_the_very_bytes_that_upstream_sent(pair: Pair) -> None:
    await pair.add("a")

    answer = await pair.client.post(CODEX, json=codex_turn("<<say:hello there>>"))

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.content == (await pair.upstream.turn()).answer


async def test_a_body_that_needs_no_change_reaches_upstream_as_it_was_packed(pair: Pair) -> None:
    await pair.add("a")
    packed = zstandard.compress(json.dumps(codex_turn("<<say:hello>>")).encode())

    answer = await pair.client.post(CODEX, content=packed, headers={"content-encoding": "zstd"})

    assert b"hello" in answer.content
    seen = await pair.upstream.turn()
    assert seen.header("content-encoding") == "zstd"


MOVED: dict[str, Step] = {
    "429 usage limit": limit(resets_in_s=3600),
    "429 rate limit": rate_limited(retry_after_s=30),
    "401": unauthorized(),
    "401 deactivated": deactivated(),
    "503 overloaded": overloaded(),
    "500": http(500, "server_error"),
    "challenge page": html(403),
    "no answer": refuse(),
    "cut before output": cut_before_output(),
    "response.failed behind response.created": failed("usage_limit_reached"),
    "response.failed as first event": failed_first("rate_limit_exceeded"),
    "server error as event": failed("server_error"),
}


@pytest.mark.parametrize("step", MOVED.values(), ids=MOVED.keys())
async def test_a_failure_before_anything_is_visible_moves_the_turn(pair: Pair, step: Step) -> None:
    await pair.add("bad", "good")
    await pair.upstream.script("bad", then=step)

    # Different beginnings are different conversations: each is given to an account by a draw of its own.
    answers = [await pair.client.post(CODEX, json=codex_turn(f"{n} <<say:hello>>")) for n in range(6)]
    as_object = await pair.client.post("/v1/responses", json={"model": "gpt-5.5", "input": "<<say:hello>>"})

    assert [a.status_code for a in answers] == [200] * 6
    assert all(b"hello" in a.content and b"response.failed" not in a.content for a in answers)
    assert as_object.json()["output"][-1]["content"][0]["text"] == "hello"
    await pair.settled()


async def test_a_limited_account_rests_until_its_reset_and_the_turn_is_recorded_on_the_other(pair: Pair) -> None:
    limited, other = await pair.add("limited", "other")
    await pair.upstream.script("limited", then=limit(resets_in_s=3600))

    asked = 0
    while not any(turn.account == "limited" for turn in await pair.upstream.turns()):
        asked += 1
        assert (await pair.client.post(CODEX, json=codex_turn(f"{asked} <<say:hello>>"))).status_code == 200
    for n in range(4):
        assert (await pair.client.post(CODEX, json=codex_turn(f"after {n}"))).status_code == 200
    await pair.settled()

    resting = await pair.status_of(limited.email)
    assert resting.status == ACCOUNT_STATUS_RATE_LIMITED
    assert 3500 < resting.status_until.ToSeconds() - resting.created_at.ToSeconds() < 3700
    assert (await pair.status_of(other.email)).status == ACCOUNT_STATUS_ACTIVE
    assert Counter(t.account for t in await pair.upstream.turns())["limited"] == 1


async def test_an_accounts_401_is_the_accounts_and_never_the_clients(pair: Pair) -> None:
    (only,) = await pair.add("only")
    await pair.upstream.script("only", then=unauthorized())

    answer = await pair.client.post(CODEX, json=codex_turn())

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "no_accounts"
    assert "token" not in answer.text
    await pair.settled()
    assert (await pair.status_of(only.email)).status == ACCOUNT_STATUS_REAUTH_REQUIRED


async def test_an_exhausted_pool_says_when_it_returns(pair: Pair) -> None:
    await pair.add("a", "b")
    await pair.upstream.script("a", then=limit(resets_in_s=7200))
    await pair.upstream.script("b", then=limit(resets_in_s=3600))

    answer = await pair.client.post(CODEX, json=codex_turn())

    assert answer.status_code == 429
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["plan_type"]) == ("usage_limit_reached", "usage_limit_reached", "plus")
    assert 3500 < error["resets_in_seconds"] <= 3601


async def test_an_empty_pool_says_what_to_do(pair: Pair) -> None:
    answer = await pair.client.post(CODEX, json=codex_turn())

    assert answer.status_code == 503
    assert "codex-lb admin accounts import" in answer.json()["error"]["message"]


async def test_upstreams_refusal_of_the_request_itself_is_passed_on(pair: Pair) -> None:
    await pair.add("a", "b")
    await pair.upstream.script("a", then=http(400, "invalid_prompt"))
    await pair.upstream.script("b", then=http(400, "invalid_prompt"))

    answer = await pair.client.post(CODEX, json=codex_turn())

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_prompt"
    assert len(await pair.upstream.turns()) == 1


async def test_a_full_context_window_reaches_the_client_as_upstream_says_it(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=failed("context_length_exceeded"))

    streamed = await pair.client.post(CODEX, json=codex_turn())
    whole = await pair.client.post("/v1/responses", json={"model": "gpt-5.5", "input": "hi"})

    assert [e["type"] for e in events_of(streamed.content)][-1] == "response.failed"
    assert b"context_length_exceeded" in streamed.content
    assert (whole.status_code, whole.json()["error"]["code"]) == (400, "context_length_exceeded")


async def test_the_python_sdk_gets_text_tools_and_usage(pair: Pair) -> None:
    await pair.add("a")
    client = AsyncOpenAI(base_url=f"{pair.base_url}/v1", api_key="none", max_retries=0)

    whole = await client.responses.create(model="gpt-5.5", input="<<say:hello>>", temperature=0.2, max_output_tokens=9)
    async with client.responses.stream(model="gpt-5.5", input="<<say:streamed>>") as stream:
        final = await stream.get_final_response()
    models = await client.models.list()
    await client.close()

    assert (whole.output_text, final.output_text) == ("hello", "streamed")
    assert whole.usage is not None
    assert whole.usage.total_tokens > 0
    assert models.object == "list"


async def test_the_public_stream_has_no_private_events(pair: Pair) -> None:
    account = await pair.upstream.add_account("a", sends_rate_limit_events=True)
    await pair.import_account(account)
    request = {"model": "gpt-5.5", "input": "<<say:hello>>", "stream": True}

    public = await pair.client.post("/v1/responses", json=request)
    native = await pair.client.post(CODEX, json=codex_turn("<<say:hello>>"))

    assert next(e["type"] for e in events_of(public.content)) == "response.created"
    assert b"codex.rate_limits" not in public.content
    assert b"codex.rate_limits" in native.content


async def test_nothing_of_the_client_that_is_not_upstreams_business_gets_there(pair: Pair) -> None:
    await pair.add("a")
    headers = {
        "authorization": "Bearer sk-clb-secret",
        "chatgpt-account-id": "of-the-user",
        "cookie": "a=b",
        "x-api-key": "secret",
        "x-custom": "kept",
        "session-id": "s1",
    }

    await pair.client.post(CODEX, json=codex_turn(), headers=headers)

    seen = await pair.upstream.turn()
    assert "secret" not in str(seen.headers)
    assert seen.header("cookie") is None
    assert (seen.header("x-custom"), seen.header("session-id")) == ("kept", "s1")
    assert seen.header("chatgpt-account-id") == "acc-a"
    assert await pair.upstream.violations() == []
