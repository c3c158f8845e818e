"""Input items as clients of other APIs write them, and as upstream takes them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codex_lb.gateway.errors import InvalidRequestError
from codex_lb.gateway.translate.input_items import items_of_input, items_of_messages
from codex_lb.gateway.translate.members import written

NAMES = st.sampled_from([
    "type", "role", "content", "output", "id", "call_id", "tool_call_id", "name", "namespace", "text", "tool_calls",
    "reasoning_details", "reasoning_content", "prompt_cache_breakpoint", "x",
])  # fmt: skip
WORDS = st.sampled_from([
    "message", "assistant", "user", "system", "tool", "text", "input_text", "reasoning", "function_call", "x", "",
])  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=15,
)


def items(*given_as: object) -> list[dict[str, Any]]:
    answer = json.loads(bytes(items_of_input(written(list(given_as)))))
    assert isinstance(answer, list)
    return answer


UNTOUCHED = [
    {"role": "user", "content": "hi"},
    {"type": "message", "role": "developer", "content": [{"type": "text", "text": "x"}]},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x", "annotations": []}]},
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "…"},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "x"},
    {"type": "additional_tools", "role": "system", "tools": [{"type": "custom"}]},
    {"type": "compaction_trigger"},
    {"type": "item_of_next_year", "role": "tool", "namespace": "n", "content": [{"reasoning": 1}]},
]


def test_items_that_upstream_knows_are_the_very_value_that_came() -> None:
    raw = written(UNTOUCHED)

    assert items_of_input(raw) is raw


def test_a_tools_answer_becomes_the_output_of_its_call() -> None:
    assert items(
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "toolCallId": "b", "content": [{"type": "text", "text": "2"}, {"type": "text", "text": "3"}]},
        {"type": "message", "role": "tool", "call_id": "c", "content": None},
    ) == [
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {"type": "function_call_output", "call_id": "b", "output": "23"},
        {"type": "function_call_output", "call_id": "c", "output": ""},
    ]


def test_a_tools_answer_without_its_call_is_refused() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        items({"role": "user", "content": "x"}, {"role": "tool", "content": "x"})

    assert refused.value.param == "input[1].tool_call_id"


def test_calls_inside_a_message_become_calls_beside_it() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    assert items({"role": "assistant", "content": "well", "tool_calls": [call], "reasoning_content": "hm"}) == [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "well"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ]


def test_what_the_assistant_said_is_output_without_its_thoughts() -> None:
    said = [
        {"type": "text", "text": "a", "x": 1},
        {"type": "input_text", "text": "b"},
        {"type": "reasoning_text", "text": "c"},
        {"type": "refusal", "refusal": "d"},
    ]

    assert items({"role": "assistant", "content": said, "x": [1]}, {"role": "assistant", "content": "e"}) == [
        {
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "a", "x": 1},
                {"type": "output_text", "text": "b"},
                {"type": "refusal", "refusal": "d"},
            ],
            "x": [1],
        },
        {"role": "assistant", "content": [{"type": "output_text", "text": "e"}]},
    ]


def test_members_of_other_apis_are_left_out_and_unknown_ones_stay() -> None:
    message = {"role": "user", "content": "x", "reasoning_content": None, "tool_calls": None, "function_call": None}

    assert items({**message, "y": 1}) == [{"role": "user", "content": "x", "y": 1}]


def test_wishes_about_caching_and_namespaces_of_calls_are_left_out() -> None:
    part = {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {}}

    assert items(
        {"role": "user", "content": [part]},
        {"type": "function_call_output", "call_id": "c", "output": [part]},
        {"type": "custom_tool_call", "call_id": "c", "name": "n", "namespace": "ns", "input": ""},
    ) == [
        {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]},
        {"type": "custom_tool_call", "call_id": "c", "name": "n", "input": ""},
    ]


@pytest.mark.parametrize(
    "item",
    [{"type": "item_reference", "id": "rs_1"}, {"id": "rs_1"}, {"id": "rs_1", "tool_calls": None}],
)
def test_a_reference_to_an_item_that_is_stored_nowhere_says_what_to_do(item: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"reasoning\.encrypted_content") as refused:
        items({"role": "user", "content": "x"}, item)

    assert refused.value.param == "input[1]"


def test_messages_become_items() -> None:
    raw = items_of_messages(written([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]))

    assert [item["role"] for item in json.loads(bytes(raw))] == ["developer", "user"]


@given(st.lists(JSON, max_size=4) | JSON)
@example([{"id": None, "tool_calls": None}])
def test_any_input_is_translated_once_and_for_all_or_refused(value: object) -> None:
    try:
        once = items_of_input(written(value))
    except InvalidRequestError:
        return
    assert items_of_input(once) is once


@given(st.dictionaries(st.text(max_size=5).map(lambda name: "z" + name), JSON, max_size=4), st.sampled_from(UNTOUCHED))
def test_unknown_members_of_items_survive(more: dict[str, object], item: dict[str, object]) -> None:
    changed = {"role": "system", "content": "x"}

    assert items({**item, **more}, {**changed, **more}) == [{**item, **more}, {**changed, "role": "developer", **more}]
