"""Chat Completions as the OpenAI SDK uses it, through gateway and lease to the simulator."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

from tests.support.pair import Pair
from tests.support.upstream import (
    Step,
    combined,
    cut_after,
    cut_before_output,
    eof,
    failed,
    garbage,
    html,
    http,
    incomplete,
    late,
    limit,
    overloaded,
    rate_limited,
    refuse,
    shred,
    strange,
    unauthorized,
)

CHAT = "/v1/chat/completions"
MODEL = "gpt-5.5"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ARGUMENTS = json.dumps({"city": 'Zürich \\ "old town" 🌦'})
ASK_WEATHER = f"<<tool:weather:{ARGUMENTS}>><<say:It rains.>>"


@pytest.fixture
async def client(pair: Pair) -> AsyncIterator[AsyncOpenAI]:
    """The SDK, with an account in the pool and no patience."""
    await pair.add("a")
    async with AsyncOpenAI(base_url=f"{pair.base_url}/v1", api_key="none", max_retries=0) as client:
        yield client


def user(text: str) -> dict[str, str]:
    """A user's message."""
    return {"role": "user", "content": text}


def chat(text: str = "<<say:hello>>", **more: object) -> dict[str, object]:
    """A whole request."""
    return {"model": MODEL, "messages": [user(text)], **more}


def chunks_of(stream: bytes) -> list[dict[str, Any]]:
    """The chunks of a stream; its end must be `[DONE]`, once."""
    *data, done = [line[6:] for line in stream.split(b"\n") if line.startswith(b"data: ")]
    assert done == b"[DONE]"
    return [json.loads(one) for one in data]


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


async def test_a_plain_question_gets_a_chat_completion(pair: Pair, client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model=MODEL, messages=[user("<<say:hello there>>")])

    assert answer.id.startswith("chatcmpl-turn_")
    assert (answer.object, answer.model) == ("chat.completion", MODEL)
    assert answer.choices[0].message.content == "hello there"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert await pair.upstream.violations() == []


async def test_a_stream_gives_the_same_answer_piece_by_piece(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model=MODEL, messages=[user("<<say:one two three>>")], stream=True)
    chunks = [chunk async for chunk in stream]

    assert text_of(chunks) == "one two three"
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].delta.role for c in chunks[1:]] == [None] * (len(chunks) - 1)
    assert [c.choices[0].finish_reason for c in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert all(chunk.usage is None for chunk in chunks)


async def test_a_stream_tells_its_usage_only_when_asked(pair: Pair, client: AsyncOpenAI) -> None:
    asked = await pair.client.post(CHAT, json=chat(stream=True, stream_options={"include_usage": True}))
    unasked = await pair.client.post(CHAT, json=chat(stream=True))

    *others, last = chunks_of(asked.content)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] > 0
    assert {"prompt_tokens_details", "completion_tokens_details"} <= last["usage"].keys()
    assert all(chunk["usage"] is None for chunk in others)
    assert all("usage" not in chunk for chunk in chunks_of(unasked.content))


async def test_the_sdks_stream_helper_accumulates_tools_and_text(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(model=MODEL, messages=[user(ASK_WEATHER)], tools=[WEATHER]) as stream:
        final = await stream.get_final_completion()

    (call,) = final.choices[0].message.tool_calls or []
    assert call.id.startswith("call_")
    assert (call.function.name, call.function.arguments) == ("weather", ARGUMENTS)
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.choices[0].message.content is None


async def test_a_tools_result_reaches_upstream_behind_its_call(pair: Pair, client: AsyncOpenAI) -> None:
    messages: list[Any] = [user(ASK_WEATHER)]
    asked = await client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    message = asked.choices[0].message
    (call,) = message.tool_calls or []
    messages += [message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "rain"}]

    answer = await client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])

    assert answer.choices[0].message.content == "It rains."
    sent = (await pair.upstream.turns())[-1].body
    kinds = [item["type"] for item in sent["input"]]
    assert kinds == ["message", "reasoning", "function_call", "function_call_output"]
    assert (sent["input"][2]["call_id"], sent["input"][2]["arguments"]) == (call.id, ARGUMENTS)
    assert sent["input"][3] == {"type": "function_call_output", "call_id": call.id, "output": "rain"}
    assert await pair.upstream.violations() == []


async def test_a_custom_tool_is_called_with_free_text(client: AsyncOpenAI) -> None:
    tool: Any = {"type": "custom", "custom": {"name": "exec", "description": "Runs code"}}

    answer = await client.chat.completions.create(
        model=MODEL, messages=[user("<<custom:exec:print('hi')>>")], tools=[tool]
    )

    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "custom"
    assert (call.custom.name, call.custom.input) == ("exec", "print('hi')")


class Person(BaseModel):
    name: str
    age: int


async def test_parse_gives_an_object_of_the_schema(pair: Pair, client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.parse(model=MODEL, messages=[user("<<say:Ada>>")], response_format=Person)

    assert answer.choices[0].message.parsed == Person(name="Ada", age=7)
    wanted = (await pair.upstream.turn()).body["text"]["format"]
    assert (wanted["type"], wanted["name"], wanted["strict"]) == ("json_schema", "Person", True)


async def test_json_object_is_passed_on(pair: Pair, client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model=MODEL, messages=[user("JSON please <<say:x>>")], response_format={"type": "json_object"}
    )

    assert json.loads(answer.choices[0].message.content or "") == {"answer": "x"}
    assert (await pair.upstream.turn()).body["text"] == {"format": {"type": "json_object"}}


async def test_images_and_files_reach_upstream(pair: Pair, client: AsyncOpenAI) -> None:
    content: Any = [
        {"type": "text", "text": "<<say:a cat>>"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
    ]

    answer = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])

    assert answer.choices[0].message.content == "a cat"
    assert (await pair.upstream.turn()).body["input"][0]["content"][1:] == [
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
    ]


async def test_what_upstream_would_refuse_never_gets_there(pair: Pair, client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "system", "content": "Be brief."}, user("<<say:hello>>")],
        temperature=0.1, top_p=0.5, max_tokens=5, max_completion_tokens=9, stop=["x"], seed=7, presence_penalty=1,
        frequency_penalty=1, logit_bias={"1": 1}, logprobs=False, user="u", metadata={"a": "b"}, store=False, n=1,
        service_tier="priority", reasoning_effort="low", verbosity="low", parallel_tool_calls=False, prompt_cache_key="k",
    )  # fmt: skip

    assert answer.choices[0].message.content == "hello"
    assert await pair.upstream.violations() == []
    sent = (await pair.upstream.turn()).body
    assert sent["input"][0]["role"] == "developer"
    assert (sent["parallel_tool_calls"], sent["prompt_cache_key"]) == (False, "k")
    assert (sent["reasoning"], sent["text"]) == ({"effort": "low", "summary": "auto"}, {"verbosity": "low"})


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2}, "n"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]"),
        ({"tools": [{"type": "code_interpreter"}]}, "tools[0].type"),
        ({"stream": "yes"}, "stream"),
        ({"model": ""}, "model"),
    ],
    ids=str.split("n audio empty role sound tool stream model"),
)
async def test_what_cannot_be_answered_is_a_400_that_names_it(pair: Pair, more: dict[str, Any], param: str) -> None:
    answer = await pair.client.post(CHAT, json={**chat(), **more})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_body_beyond_the_bound_is_a_413(pair: Pair) -> None:
    answer = await pair.client.post(CHAT, content=b" " * (33 * 2**20))

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")


async def test_reasoning_is_delivered_in_both_forms(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model=MODEL, messages=[user("<<say:hello>>")], reasoning_effort="low")
    stream = await client.chat.completions.create(model=MODEL, messages=[user("<<say:hello>>")], stream=True)
    deltas = [chunk.choices[0].delta.model_extra or {} async for chunk in stream]

    message = whole.choices[0].message.model_extra or {}
    assert message["reasoning_content"] == "**Simulating thought**"
    assert [d["type"] for d in message["reasoning_details"]] == ["reasoning.summary", "reasoning.encrypted"]
    assert "".join(d.get("reasoning_content", "") for d in deltas) == "**Simulating thought**"
    details = [detail for d in deltas for detail in d.get("reasoning_details", [])]
    assert [d["type"] for d in details] == ["reasoning.summary", "reasoning.encrypted"]
    assert {d["format"] for d in details} == {"openai-responses-v1"}
    assert details[0]["id"] == details[1]["id"]


@pytest.mark.parametrize("is_streamed", [True, False], ids=["streamed", "whole"])
async def test_three_turns_with_tools_keep_their_encrypted_reasoning(
    pair: Pair, client: AsyncOpenAI, is_streamed: bool
) -> None:
    messages: list[Any] = []
    for n in range(3):
        messages.append(user(f"<<tool:weather:{ARGUMENTS}>><<say:answer {n}>>"))
        for result in ("rain", None):
            message = await ask(client, messages, is_streamed=is_streamed)
            messages.append(message)
            if result is not None:
                messages.append({"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": result})

    turns = await pair.upstream.turns()
    assert len(turns) == 6
    kinds = [item["type"] for item in turns[-1].body["input"]]
    one_turn = ["message", "reasoning", "function_call", "function_call_output", "reasoning", "message"]
    assert kinds == (one_turn * 3)[:-2]
    sealed = [item["encrypted_content"] for item in turns[-1].body["input"] if item["type"] == "reasoning"]
    assert len(set(sealed)) == 5
    given = b"".join(turn.answer for turn in turns)
    assert all(one.encode() in given for one in sealed)
    assert await pair.upstream.violations() == []


async def ask(client: AsyncOpenAI, messages: list[Any], *, is_streamed: bool) -> dict[str, Any]:
    """One request; the answer's message with all that came, as a client keeps it that keeps everything."""
    if not is_streamed:
        answer = await client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
        return answer.choices[0].message.model_dump(exclude_none=True)
    kept: dict[str, Any] = {"role": "assistant", "content": "", "reasoning_details": []}
    calls: dict[int, Any] = {}
    stream = await client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER], stream=True)
    async for chunk in stream:
        delta = chunk.choices[0].delta
        kept["content"] += delta.content or ""
        kept["reasoning_details"] += (delta.model_extra or {}).get("reasoning_details", [])
        for piece in delta.tool_calls or []:
            call = calls.setdefault(piece.index, piece.model_dump())
            if call["id"] != piece.id:
                call["function"]["arguments"] += piece.function.arguments
    return {**kept, "tool_calls": list(calls.values())} if calls else kept


def as_the_ai_sdk_returns(message: dict[str, Any]) -> dict[str, Any]:
    """What `@ai-sdk/openai-compatible` and OpenCode keep of an answer: the bare text of its reasoning."""
    text = message.pop("reasoning_content", "")
    return {**message, "reasoning_details": text}


async def test_a_client_that_drops_the_ciphertext_goes_on_with_its_reasoning(pair: Pair, client: AsyncOpenAI) -> None:
    messages: list[Any] = [user(f"<<tool:weather:{ARGUMENTS}>><<tool:weather:{ARGUMENTS}>><<say:done>>")]
    for _ in range(2):
        message = as_the_ai_sdk_returns(await ask(client, messages, is_streamed=len(messages) == 1))
        result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "rain"}
        messages += [message, result]
    final = await ask(client, messages, is_streamed=True)

    assert final["content"] == "done"
    kinds = [item["type"] for item in (await pair.upstream.turns())[-1].body["input"]]
    assert kinds == ["message", *["reasoning", "function_call", "function_call_output"] * 2]
    assert await pair.upstream.violations() == []


@pytest.mark.parametrize("keeps_all", [True, False], ids=["brings it back", "drops it"])
async def test_reasoning_goes_back_to_its_account_and_to_no_other(pair: Pair, keeps_all: bool) -> None:
    await pair.add("a", "b", "c")
    messages: list[Any] = [user(f"<<tool:weather:{ARGUMENTS}>>" * 4 + "<<say:done>>")]
    async with AsyncOpenAI(base_url=f"{pair.base_url}/v1", api_key="none", max_retries=0) as client:
        for n in range(4):
            message = await ask(client, messages, is_streamed=n % 2 == 0)
            messages.append(message if keeps_all else as_the_ai_sdk_returns(message))
            messages.append({"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "rain"})
            if n == 2:
                (owner,) = {turn.account for turn in await pair.upstream.turns()}
                await pair.upstream.script(owner or "", then=limit(resets_in_s=3600))
        final = await ask(client, messages, is_streamed=False)

    assert final["content"] == "done"
    assert await pair.upstream.violations() == []
    *_, moved, last = [turn for turn in await pair.upstream.turns() if turn.status == 200]
    assert moved.account == last.account != owner
    assert "reasoning" not in {item["type"] for item in moved.body["input"]}
    assert [item["type"] for item in last.body["input"]].count("reasoning") == 1


MOVED: dict[str, Step] = {
    "429 usage limit": limit(resets_in_s=3600),
    "429 rate limit": rate_limited(retry_after_s=30),
    "401": unauthorized(),
    "503 overloaded": overloaded(),
    "500": http(500, "server_error"),
    "challenge page": html(403),
    "no answer": refuse(),
    "cut before output": cut_before_output(),
    "limit as event": failed("usage_limit_reached"),
}


@pytest.mark.parametrize("step", MOVED.values(), ids=MOVED.keys())
async def test_an_accounts_failure_is_not_the_clients(pair: Pair, step: Step) -> None:
    await pair.add("bad", "good")
    await pair.upstream.script("bad", then=step)

    answers = [await pair.client.post(CHAT, json=chat(stream=n % 2 == 0)) for n in range(4)]

    assert [a.status_code for a in answers] == [200] * 4
    assert all(b"hello" in a.content and b'"error"' not in a.content for a in answers)
    await pair.settled()


@pytest.mark.parametrize("is_streamed", [True, False], ids=["streamed", "whole"])
async def test_a_failure_before_any_output_has_its_true_status(pair: Pair, is_streamed: bool) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=failed("context_length_exceeded"))
    full = await pair.client.post(CHAT, json=chat(stream=is_streamed))
    await pair.upstream.script("a", then=limit(resets_in_s=3600))
    limited = await pair.client.post(CHAT, json=chat(stream=is_streamed))

    assert (full.status_code, full.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert (limited.status_code, limited.json()["error"]["code"]) == (429, "usage_limit_reached")
    await pair.settled()


BROKEN: dict[str, Step] = {"cut": cut_after(3_000), "end without an end": eof()}


@pytest.mark.parametrize("step", BROKEN.values(), ids=BROKEN.keys())
async def test_a_stream_that_breaks_says_so_once(pair: Pair, client: AsyncOpenAI, step: Step) -> None:
    await pair.upstream.script("a", then=step)

    answer = await pair.client.post(CHAT, json=chat("<<long:60>>", stream=True))

    *shown, last = chunks_of(answer.content)
    assert last["error"]["code"] == "server_error"
    assert shown
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in shown)
    with pytest.raises(openai.APIError):
        async for _ in await client.chat.completions.create(model=MODEL, messages=[user("<<long:60>>")], stream=True):
            pass
    await pair.settled()


@pytest.mark.parametrize("step", BROKEN.values(), ids=BROKEN.keys())
async def test_an_answer_that_breaks_is_never_taken_for_whole(pair: Pair, client: AsyncOpenAI, step: Step) -> None:
    await pair.upstream.script("a", then=step)

    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(model=MODEL, messages=[user("<<long:60>>")])


async def test_an_answer_cut_short_by_upstream_says_why(pair: Pair, client: AsyncOpenAI) -> None:
    await pair.upstream.script("a", incomplete("max_output_tokens"), incomplete("content_filter"))

    length = await client.chat.completions.create(model=MODEL, messages=[user("<<say:hello>>")])
    filtered = await pair.client.post(CHAT, json=chat(stream=True))

    assert (length.choices[0].message.content, length.choices[0].finish_reason) == ("hello", "length")
    assert chunks_of(filtered.content)[-1]["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize("step", [garbage(), strange(), shred(7)], ids=["no JSON", "unknown event", "tiny pieces"])
async def test_odd_streams_give_the_same_answer(pair: Pair, client: AsyncOpenAI, step: Step) -> None:
    await pair.upstream.script("a", then=step)

    answer = await pair.client.post(CHAT, json=chat("<<say:one two three>>", stream=True))

    deltas = [chunk["choices"][0]["delta"] for chunk in chunks_of(answer.content)]
    assert "".join(delta.get("content", "") for delta in deltas) == "one two three"


async def test_a_waiting_client_is_kept_company_with_comments(pair: Pair, client: AsyncOpenAI) -> None:
    await pair.upstream.script("a", combined(late(1.5)))

    answer = await pair.client.post(CHAT, json=chat(stream=True))
    await pair.upstream.script("a", combined(late(1.5), limit()))
    refused = await pair.client.post(CHAT, json=chat(stream=True))

    assert answer.content.startswith(b": keepalive\n\n")
    assert chunks_of(answer.content)[-1]["choices"][0]["finish_reason"] == "stop"
    (error,) = chunks_of(refused.content)
    assert error["error"]["code"] == "usage_limit_reached"
