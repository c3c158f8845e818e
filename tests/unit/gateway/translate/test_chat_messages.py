"""Messages become input items in their order, each where upstream looks for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.errors import InvalidRequestError
from codex_lb.gateway.translate.chat_request import chat_turn

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
SEALED = {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "format": "openai-responses-v1", "index": 0}
SUMMARY = {"type": "reasoning.summary", "id": "rs_1", "format": "openai-responses-v1", "index": 0}


def items(*messages: object) -> list[Any]:
    """The input of the upstream request."""
    body = chat_turn(json.dumps({"model": "m", "messages": messages}).encode()).body()
    made: list[Any] = json.loads(body)["input"]
    return made


def refusal(*messages: object) -> str | None:
    with pytest.raises(InvalidRequestError) as refused:
        items(*messages)
    return refused.value.param


def assistant(**more: object) -> dict[str, object]:
    return {"role": "assistant", "content": None, **more}


def test_instructions_stay_where_they_stand() -> None:
    made = items(
        {"role": "system", "content": "one"},
        {"role": "user", "content": "two", "name": "somebody"},
        {"role": "developer", "content": [{"type": "text", "text": "three"}]},
    )

    assert [(item["role"], item["content"][0]["text"]) for item in made] == [
        ("developer", "one"),
        ("user", "two"),
        ("developer", "three"),
    ]
    assert all(item.keys() == {"type", "role", "content"} for item in made)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "a\\u00e9"}, {"type": "input_text", "text": "a\\u00e9"}),
        ({"type": "text", "text": "a", "new": [1]}, {"type": "input_text", "text": "a", "new": [1]}),
        ({"type": "text", "text": "a", "cache_control": {}}, {"type": "input_text", "text": "a"}),
        (
            {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "high"}},
            {"type": "input_image", "image_url": "https://x/y.png", "detail": "high"},
        ),
        ({"type": "image_url", "image_url": "data:z"}, {"type": "input_image", "image_url": "data:z"}),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="}},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="},
        ),
        (
            {"type": "file", "file": {"data": "QQ==", "mime_type": "text/plain"}},
            {"type": "input_file", "file_data": "data:text/plain;base64,QQ=="},
        ),
        ({"type": "file", "file": {"file_id": "f1"}}, {"type": "input_file", "file_id": "f1"}),
        ({"type": "invented", "x": 1}, {"type": "invented", "x": 1}),
    ],
    ids=str.split("text unknown-member cache image image-text file base64 file-id unknown-part"),
)
def test_what_users_say_has_a_place_upstream(part: object, expected: object) -> None:
    assert items({"role": "user", "content": [part]}) == [{"type": "message", "role": "user", "content": [expected]}]


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (None, "messages[0].content"),
        (5, "messages[0].content"),
        (["x"], "messages[0].content[0]"),
        ([{"type": "text"}], "messages[0].content[0].text"),
        ([{"type": "text", "text": 5}], "messages[0].content[0].text"),
        ([{"type": "input_audio", "input_audio": {}}], "messages[0].content[0]"),
        ([{"type": "image_url"}], "messages[0].content[0].image_url"),
        ([{"type": "image_url", "image_url": {"url": 5}}], "messages[0].content[0].image_url.url"),
        ([{"type": "file", "file": {"filename": "x"}}], "messages[0].content[0].file"),
    ],
)
def test_content_that_cannot_be_used_is_refused_by_its_place(content: object, param: str) -> None:
    assert refusal({"role": "user", "content": content}) == param


def test_an_answer_becomes_its_reasoning_its_text_and_its_calls() -> None:
    made = items(
        assistant(
            content="let me see",
            refusal="no",
            tool_calls=[CALL, {**CALL, "id": "c2"}],
            reasoning_content="shown",
            reasoning_details=[{**SUMMARY, "summary": "a"}, {**SUMMARY, "summary": "b"}, SEALED],
        )
    )

    assert made == [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "ab"}],
            "encrypted_content": "gAAA",
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "let me see"}, {"type": "refusal", "refusal": "no"}],
        },
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
        {"type": "function_call", "call_id": "c2", "name": "f", "arguments": '{"a": 1}'},
    ]


@pytest.mark.parametrize(
    "details",
    [
        "the bare text, as OpenCode sends it",
        [{**SUMMARY, "summary": "a"}],
        [{**SEALED, "data": None}],
        [{**SEALED, "format": "anthropic-claude-v1"}],
        [{"type": "reasoning.text", "text": "x", "signature": "y"}],
        [None, 5, {"type": 7}],
        {"a": 1},
        None,
    ],
    ids=str.split("text summary no-data another-vendors clear junk object null"),
)
def test_reasoning_that_upstream_cannot_read_is_left_out(details: object) -> None:
    assert items(assistant(content="x", reasoning_details=details)) == items(assistant(content="x"))


def test_two_thoughts_keep_their_own_summaries() -> None:
    details = [
        {**SUMMARY, "id": None, "summary": "first"},
        {**SUMMARY, "id": "rs_2", "index": 1, "summary": "second"},
        SEALED,
        {**SEALED, "id": "rs_2", "data": "gBBB", "index": 1},
    ]

    made = items(assistant(content="x", reasoning_details=details))

    assert [(i["id"], i["summary"][0]["text"]) for i in made[:2]] == [("rs_1", "first"), ("rs_2", "second")]


def test_a_thought_that_a_client_repeats_is_sent_once() -> None:
    made = items(assistant(content="a", reasoning_details=[SEALED]), assistant(content="b", reasoning_details=[SEALED]))

    assert [item["type"] for item in made] == ["reasoning", "message", "message"]


@pytest.mark.parametrize("content", [None, "", []])
def test_an_answer_that_only_calls_has_no_message(content: object) -> None:
    assert [item["type"] for item in items(assistant(content=content, tool_calls=[CALL]))] == ["function_call"]


def test_reasoning_among_an_answers_parts_is_another_vendors() -> None:
    parts = [{"type": "thinking", "thinking": "x"}, {"type": "text", "text": "y"}, {"type": "reasoning", "text": "z"}]

    assert items(assistant(content=parts))[0]["content"] == [{"type": "output_text", "text": "y"}]


@pytest.mark.parametrize(
    ("content", "output"),
    [
        ("rain", "rain"),
        (None, ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        (
            [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:x"}}],
            [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": "data:x"}],
        ),
    ],
    ids=str.split("text nothing texts image"),
)
def test_a_tools_result_names_its_call(content: object, output: object) -> None:
    made = items(assistant(tool_calls=[CALL]), {"role": "tool", "tool_call_id": "c1", "content": content})

    assert made[1] == {"type": "function_call_output", "call_id": "c1", "output": output}


@pytest.mark.parametrize("name", ["tool_call_id", "toolCallId", "call_id"])
def test_a_call_is_found_under_the_names_that_clients_give_it(name: str) -> None:
    assert items({"role": "tool", name: "c1", "content": "x"})[0]["call_id"] == "c1"


def test_a_custom_tools_call_and_result_are_of_their_own_kind() -> None:
    call = {"id": "c9", "type": "custom", "custom": {"name": "exec", "input": "print()"}}

    made = items(assistant(tool_calls=[call]), {"role": "tool", "tool_call_id": "c9", "content": "ok"})

    assert made == [
        {"type": "custom_tool_call", "call_id": "c9", "name": "exec", "input": "print()"},
        {"type": "custom_tool_call_output", "call_id": "c9", "output": "ok"},
    ]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "function", "content": "x"}, "messages[0].role"),
        ({"content": "x"}, "messages[0]"),
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
        (assistant(tool_calls=[{"id": "c"}]), "messages[0].tool_calls[0].function"),
        (assistant(tool_calls=[{"function": {"name": "f", "arguments": ""}}]), "messages[0].tool_calls[0]"),
        (
            assistant(tool_calls=[{"id": "c", "function": {"name": "f", "arguments": {}}}]),
            "messages[0].tool_calls[0].function.arguments",
        ),
        ("text", "messages[0]"),
    ],
)
def test_a_message_that_cannot_be_used_is_refused_by_its_place(message: object, param: str) -> None:
    assert refusal(message) == param


@given(st.text(), st.text(), st.text())
def test_text_arrives_as_it_was_written(said: str, answered: str, returned: str) -> None:
    made = items(
        {"role": "user", "content": said},
        assistant(content=[{"type": "text", "text": answered}]),
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": returned}]},
    )

    assert made[0]["content"][0]["text"] == said
    assert made[1]["content"][0]["text"] == answered
    assert made[2]["output"] == returned
