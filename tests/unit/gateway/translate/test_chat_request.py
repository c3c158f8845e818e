"""Chat requests become Responses requests that upstream takes, and nothing that it refuses gets there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.errors import InvalidRequestError
from codex_lb.gateway.translate.chat_request import PARAMETERS, TRANSLATED, Dropped, Refused, chat_turn

HI = {"role": "user", "content": "hi"}
OURS = {"model", "messages", "tools", "tool_choice", "reasoning", "text", "include", "instructions", "service_tier"}
OURS |= {"stream", "store", "input", *PARAMETERS, *TRANSLATED}

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def sent(**more: object) -> dict[str, Any]:
    """What upstream gets."""
    body: dict[str, Any] = json.loads(chat_turn(asked(**more)).body())
    return body


def asked(**more: object) -> bytes:
    return json.dumps({"model": "m", "messages": [HI], **more}).encode()


def refusal(**more: object) -> str | None:
    """The parameter that is refused."""
    with pytest.raises(InvalidRequestError) as refused:
        chat_turn(asked(**more))
    assert refused.value.status == 400
    return refused.value.param


def test_a_bare_request_gets_what_upstream_insists_on() -> None:
    assert sent() == {
        "model": "m",
        "instructions": "",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"summary": "auto"},
        "stream": True,
        "store": False,
    }


def test_the_answer_is_told_what_it_needs_to_know() -> None:
    turn = chat_turn(
        asked(stream=True, stream_options={"include_usage": True}, reasoning_effort="high", service_tier="fast")
    )

    assert (turn.model, turn.is_streamed, turn.includes_usage) == ("m", True, True)
    assert (turn.reasoning_effort, turn.service_tier) == ("high", "priority")


@pytest.mark.parametrize("name", sorted(PARAMETERS.keys() - {"input"}))
def test_a_parameter_of_the_table_never_reaches_upstream(name: str) -> None:
    match PARAMETERS[name]:
        case Refused(harmless=harmless):
            values = [None, *harmless]
        case Dropped():
            values = [None, {}]

    assert [sent(**{name: value}) for value in values] == [sent()] * len(values)


@pytest.mark.parametrize("name", [name for name, fate in PARAMETERS.items() if isinstance(fate, Refused)])
def test_a_parameter_without_which_the_answer_would_be_wrong_is_refused_by_name(name: str) -> None:
    assert refusal(**{name: ["audio"]}) == name


@pytest.mark.parametrize(
    ("effort", "reasoning", "expected"),
    [
        ("low", None, {"effort": "low", "summary": "auto"}),
        (None, {"effort": "high", "max_tokens": 9, "exclude": True}, {"effort": "high", "summary": "auto"}),
        ("low", {"summary": "detailed", "context": "x"}, {"effort": "low", "summary": "detailed", "context": "x"}),
        ("none", None, {"effort": "none"}),
    ],
)
def test_reasoning_is_asked_to_say_what_it_thought(
    effort: str | None, reasoning: object, expected: dict[str, object]
) -> None:
    assert sent(reasoning_effort=effort, reasoning=reasoning)["reasoning"] == expected


def test_a_model_that_takes_no_wish_for_summaries_gets_none() -> None:
    body = json.loads(chat_turn(asked(reasoning_effort="low"), refuses_summary={"m"}).body())

    assert body["reasoning"] == {"effort": "low"}
    assert "reasoning" not in json.loads(chat_turn(asked(), refuses_summary={"m"}).body())


def test_a_schema_moves_up_one_level() -> None:
    schema = {"name": "Person", "strict": True, "schema": {"type": "object"}, "description": "d"}

    wanted = sent(response_format={"type": "json_schema", "json_schema": schema}, verbosity="low")["text"]

    assert wanted == {"verbosity": "low", "format": {"type": "json_schema", **schema}}


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({}, "response_format"),
        ({"type": "xml"}, "response_format"),
        ({"type": "json_schema"}, "response_format"),
        ({"type": "json_schema", "json_schema": 5}, "response_format.json_schema"),
        ({"type": "json_schema", "json_schema": {"schema": {}}}, "response_format.json_schema.name"),
        ({"type": "json_schema", "json_schema": {"name": "a b"}}, "response_format.json_schema.name"),
        ("text", "response_format"),
    ],
)
def test_a_format_that_cannot_be_used_is_refused(form: object, param: str) -> None:
    assert refusal(response_format=form) == param


def test_two_formats_contradict_each_other() -> None:
    assert refusal(response_format={"type": "text"}, text={"format": {"type": "text"}}) == "response_format"


def test_what_the_client_wants_included_stays_included() -> None:
    assert sent(include=["web_search_call.action.sources"])["include"] == [
        "web_search_call.action.sources",
        "reasoning.encrypted_content",
    ]


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        (
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "new": 1}, "more": 2},
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "new": 1, "more": 2, "strict": False},
        ),
        (
            {"type": "function", "function": {"name": "f", "strict": True}},
            {"type": "function", "name": "f", "strict": True, "parameters": {"type": "object", "properties": {}}},
        ),
        (
            {"type": "function", "name": "flat", "parameters": {}, "strict": None},
            {"type": "function", "name": "flat", "parameters": {}, "strict": False},
        ),
        ({"type": "web_search_preview", "filters": {}}, {"type": "web_search", "filters": {}}),
        ({"type": "invented", "x": [1.50]}, {"type": "invented", "x": [1.50]}),
        (
            {"type": "custom", "custom": {"name": "c", "format": {"type": "grammar", "grammar": {"syntax": "lark"}}}},
            {"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": "lark"}},
        ),
    ],
    ids=str.split("function strict flat search unknown custom"),
)
def test_tools_are_one_level_flatter_upstream(tool: object, expected: object) -> None:
    assert sent(tools=[tool])["tools"] == [expected]


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "code_interpreter"}, "tools[1].type"),
        ({"type": "image_generation"}, "tools[1].type"),
        ({"type": "function", "function": {}}, "tools[1].function.name"),
        ({"type": "function", "function": 5}, "tools[1].function"),
    ],
)
def test_a_tool_that_cannot_be_used_is_refused(tool: object, param: str) -> None:
    assert refusal(tools=[{"type": "web_search"}, tool]) == param


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("required", "required"),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "f"}),
        ({"type": "web_search_preview"}, {"type": "web_search"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        ),
    ],
    ids=str.split("word function search allowed"),
)
def test_a_tool_choice_is_flattened_like_the_tools(choice: object, expected: object) -> None:
    assert sent(tool_choice=choice)["tool_choice"] == expected


def test_numbers_keep_the_way_they_are_written() -> None:
    raw = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"future":{"a": 1.50, "b": 1e3}}'

    assert b'"future":{"a": 1.50, "b": 1e3}' in chat_turn(raw).body()


@given(st.dictionaries(st.text(min_size=1, max_size=20).filter(lambda name: name not in OURS), anything, max_size=6))
def test_members_that_nobody_knows_pass(more: dict[str, object]) -> None:
    body = sent(**more)

    assert {name: body[name] for name, value in more.items() if value is not None} == {
        name: value for name, value in more.items() if value is not None
    }


NAMES = st.sampled_from(
    sorted([*OURS, "role", "content", "tool_calls", "function", "type", "reasoning_details", "image_url", "file", "id"])
)
WORDS = st.sampled_from(
    [
        "user",
        "assistant",
        "tool",
        "system",
        "text",
        "image_url",
        "function",
        "custom",
        "file",
        "refusal",
        "allowed_tools",
    ]
)
likely = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.text(max_size=3) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, likely, max_size=8), st.lists(st.dictionaries(NAMES, likely, max_size=6), max_size=4))
def test_any_request_is_translated_or_refused(request: dict[str, object], messages: list[dict[str, object]]) -> None:
    for body in (request, {"model": "m", **request, "messages": messages or [HI]}):
        try:
            turn = chat_turn(json.dumps(body).encode())
        except InvalidRequestError:
            pass
        else:
            made = json.loads(turn.body())
            assert (made["stream"], made["store"]) == (True, False)
            assert isinstance(made["input"], list)
            assert made.keys().isdisjoint(set(PARAMETERS) - {"input", "store"})


@given(st.binary(max_size=60))
def test_any_bytes_are_translated_or_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        chat_turn(body)


def test_a_nest_too_deep_to_read_is_refused() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(InvalidRequestError):
        chat_turn(b'{"model":"m","messages":[{"role":"user","content":' + deep + b"}]}")
