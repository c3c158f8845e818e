"""Requests reach upstream as their clients wrote them; only what upstream refuses is changed."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.errors import InvalidRequestError
from codex_lb.gateway.sealed import OBJECTS_MAX, SMALL_BYTES
from codex_lb.gateway.translate.model_alias import Catalog
from codex_lb.gateway.translate.responses import ALIASES, NOT_FOR_UPSTREAM, native_turn, public_turn

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
READ = {
    "model", "stream", "store", "service_tier", "reasoning", "prompt_cache_key", "previous_response_id",
    "input", "messages", "instructions", "include", "conversation", "text", "tools", "tool_choice",
    *NOT_FOR_UPSTREAM, *ALIASES,
}  # fmt: skip
unknown_members = st.dictionaries(st.text(max_size=10).filter(lambda name: name not in READ), json_values, max_size=5)
CATALOG: Catalog = {
    "gpt-5.4": ("low", "medium", "high", "xhigh"),
    "gpt-5.4-mini": ("minimal", "medium"),
    "gpt-6-sol": (),
    "o9": (),
}
ODD = b'{"a":1.0e2,"n":12345678901234567890123456789,"x":1e400,"s":"\\u00fc\\/","l":[ 1 , 2 ]}'


def body(**members: object) -> bytes:
    return json.dumps({"model": "gpt-5.5", "input": "hi", **members}).encode()


def native(raw: bytes) -> bytes:
    return native_turn(raw, CATALOG).body


def public(raw: bytes) -> dict[str, Any]:
    translated = json.loads(public_turn(raw, CATALOG).body)
    assert isinstance(translated, dict)
    return translated


@given(unknown_members, st.sampled_from([None, 1, 4]))
def test_a_codex_request_that_asks_for_what_upstream_gives_is_the_very_object_that_came(
    members: dict[str, object], indent: int | None
) -> None:
    raw = json.dumps({"model": "m", "stream": True, "store": False, **members}, indent=indent).encode()

    assert native(raw) is raw


@pytest.mark.parametrize("asked", [{}, {"stream": False}, {"store": True, "stream": True}, {"stream": None}])
def test_a_codex_request_that_asks_for_something_else_is_corrected_and_nothing_more(asked: dict[str, object]) -> None:
    raw = body(**asked, tools=[], include=None, odd=1)

    assert json.loads(native(raw)) == {**json.loads(raw), "stream": True, "store": False}


@given(unknown_members)
def test_members_nobody_knows_keep_their_values_in_both_dialects(members: dict[str, object]) -> None:
    raw = body(**members)

    assert {k: v for k, v in json.loads(native(raw)).items() if k in members} == members
    assert {k: v for k, v in public(raw).items() if k in members} == members


def test_members_nobody_reads_keep_their_bytes() -> None:
    raw = b'{"model":"m","input":[],"odd":' + ODD + b',"tools":[{"parameters":' + ODD + b"}]}"

    assert ODD in native(raw)
    assert public_turn(raw, CATALOG).body.count(ODD) == 2


def test_a_text_as_input_becomes_one_message() -> None:
    translated = public(body(input='say "hi"\n🙂'))

    assert translated["input"] == [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": 'say "hi"\n🙂'}]}
    ]


@given(st.text(max_size=30))
def test_any_text_as_input_arrives_as_it_was(text: str) -> None:
    assert public(body(input=text))["input"][0]["content"][0]["text"] == text


def test_a_list_as_input_keeps_its_bytes() -> None:
    items = b'[ {"role":"user", "content":"hi"},\n {"type":"item_of_next_year","x":1.50} ]'

    assert items in public_turn(b'{"model":"m","input":' + items + b"}", CATALOG).body


def test_the_role_system_becomes_developer_and_nothing_else_of_its_item_changes() -> None:
    system = {"role": "system", "content": 'the word "system" stays', "x": [{"role": "system"}]}
    user = {"role": "user", "content": "system"}

    assert public(body(input=[system, user]))["input"] == [{**system, "role": "developer"}, user]


@pytest.mark.parametrize("name", {*NOT_FOR_UPSTREAM} - {"truncation"})
@pytest.mark.parametrize("value", [None, 1, "x", {"a": 1}])
def test_what_upstream_calls_unsupported_is_left_out(name: str, value: object) -> None:
    assert name not in public(body(**{name: value}))
    assert name not in json.loads(native(body(**{name: value})))


def test_a_public_request_streams_and_stores_nothing() -> None:
    translated = public(body(stream=False, store=True))

    assert (translated["stream"], translated["store"]) == (True, False)


@pytest.mark.parametrize(("tier", "sent"), [("fast", "priority"), ("priority", "priority"), ("flex", "flex")])
def test_the_tier_fast_has_another_name_upstream(tier: str, sent: str) -> None:
    assert public(body(service_tier=tier))["service_tier"] == sent
    assert "service_tier" not in public(body())


@pytest.mark.parametrize(("given_as", "sent"), [({}, ""), ({"instructions": None}, ""), ({"instructions": "x"}, "x")])
def test_instructions_are_always_there(given_as: dict[str, object], sent: str) -> None:
    assert public(body(**given_as))["instructions"] == sent


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"model": ""}, "model"),
        ({"model": "  "}, "model"),
        ({"model": "m" * 257}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"service_tier": 1}, "service_tier"),
        ({"service_tier": "t" * 257}, "service_tier"),
        ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"effort": 3}}, "reasoning.effort"),
        ({"reasoning": {"effort": "e" * 257}}, "reasoning.effort"),
        ({"prompt_cache_key": 5}, "prompt_cache_key"),
        ({"previous_response_id": []}, "previous_response_id"),
    ],
)
def test_a_member_of_the_wrong_kind_is_refused_by_name(members: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        native(body(**members))

    assert (refused.value.status, refused.value.param) == (400, param)


@pytest.mark.parametrize("given_as", [None, 5, {}, True])
def test_an_input_that_is_neither_text_nor_list_is_refused(given_as: object) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        public(body(input=given_as))

    assert refused.value.param == "input"


@pytest.mark.parametrize("items", [["system"], [{"role": "system"}, "x"], [["system"]]])
def test_an_item_that_is_no_object_is_refused_where_items_are_read(items: list[object]) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        public(body(input=items))

    assert refused.value.param in ("input[0]", "input[1]")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"17",
        b'{"model":"m"} {}',
        b"\xef\xbb\xbf{}",
        b'{"model":"\xff"}',
        b'{"model":01}',
        b'{"model":"m","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model":"m","input":[' + b'{"a":' * 100_000,
    ],
)
def test_what_is_no_request_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        native(raw)

    assert refused.value.status == 400


@given(st.binary(max_size=60) | unknown_members.map(lambda m: body(**m)).map(lambda b: b.replace(b"hi", b"\xff")))
def test_any_bytes_are_translated_or_refused(raw: bytes) -> None:
    with suppress(InvalidRequestError):
        native(raw)
    with suppress(InvalidRequestError):
        public(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"m","\xff":1,"input":"x"}',
        b'{"model":"m","input":"\xff"}',
        b'{"model":"m","input":[{"\xff":"\xff","role":"system"}]}',
    ],
)
def test_bytes_that_are_no_text_are_refused_and_not_choked_on(raw: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        public(raw)


@pytest.mark.parametrize("raw", [b'{"model":"a","model":"b"}', b'{"model":"a","mod\\u0065l":"b"}'])
def test_the_model_that_is_checked_is_the_model_that_is_sent(raw: bytes) -> None:
    assert native_turn(raw, CATALOG).model == json.loads(native(raw))["model"] == "b"


def test_a_variants_name_becomes_a_model_an_effort_and_a_tier() -> None:
    raw = body(model="gpt-5.4-high-fast", stream=True, reasoning={"effort": "low", "summary": "auto"})

    for turn in (native_turn(raw, CATALOG), public_turn(raw, CATALOG)):
        sent = json.loads(turn.body)
        assert (sent["model"], sent["service_tier"]) == ("gpt-5.4", "priority")
        assert sent["reasoning"] == {"effort": "high", "summary": "auto"}
        assert (turn.requested_model, turn.model) == ("gpt-5.4-high-fast", "gpt-5.4")
        assert (turn.reasoning_effort, turn.service_tier) == ("high", "priority")


def test_a_tier_that_is_given_outranks_the_one_in_the_name() -> None:
    assert public(body(model="gpt-5.4-fast", service_tier="flex"))["service_tier"] == "flex"
    assert public(body(model="gpt-5.4-fast", service_tier=None))["service_tier"] == "priority"


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        ("gpt-5.4", "minimal", "low"),
        ("gpt-5.4-mini", "minimal", "medium"),
        ("unknown", "minimal", "low"),
        ("gpt-5.4-minimal", "high", "low"),
        ("gpt-6-sol", "ultra", "max"),
        ("gpt-6-sol", "none", "none"),
    ],
)
def test_an_effort_upstream_does_not_take_becomes_one_it_does(model: str, effort: str, sent: str) -> None:
    raw = body(model=model, reasoning={"effort": effort})

    for turn in (native_turn(raw, CATALOG), public_turn(raw, CATALOG)):
        assert json.loads(turn.body)["reasoning"] == {"effort": sent}
        assert turn.reasoning_effort == sent


def test_web_search_has_one_name_wherever_it_stands() -> None:
    preview, odd = {"type": "web_search_preview_2025_03_11", "x": 1}, {"type": "function", "name": "web_search_preview"}
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [preview, odd]}

    sent = public(body(tools=[odd, preview], tool_choice=allowed))
    chosen = json.loads(native(body(tool_choice=preview)))

    assert sent["tools"] == [odd, {"type": "web_search", "x": 1}]
    assert sent["tool_choice"] == {**allowed, "tools": [{"type": "web_search", "x": 1}, odd]}
    assert chosen["tool_choice"] == {"type": "web_search", "x": 1}


@pytest.mark.parametrize("include", [None, [], ["reasoning.encrypted_content", "file_search_call.results"]])
def test_what_can_be_included_is_passed_on(include: list[str] | None) -> None:
    assert public(body(include=include, store=False))["include"] == include


@pytest.mark.parametrize("store", [{}, {"store": True}, {"store": None}])
@pytest.mark.parametrize("include", [{}, {"include": None}, {"include": ["file_search_call.results"]}])
def test_reasoning_comes_whole_where_we_are_to_store_it(store: dict[str, object], include: dict[str, object]) -> None:
    asked = include.get("include") or []

    assert public(body(**include, **store))["include"] == [*asked, "reasoning.encrypted_content"]  # type: ignore[misc]


@pytest.mark.parametrize(
    "include", [["x"], ["reasoning.encrypted_content", ""], "reasoning.encrypted_content", [1], {}]
)
def test_what_cannot_be_included_is_refused(include: object) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        public(body(include=include))

    assert refused.value.param in ("include", "include[0]")


@pytest.mark.parametrize("conversation", ["conv_1", {"id": "conv_1"}])
def test_two_ways_to_go_on_are_one_too_many(conversation: object) -> None:
    both = body(previous_response_id="resp_1", conversation=conversation)

    for turn in (native_turn, public_turn):
        with pytest.raises(InvalidRequestError) as refused:
            turn(both, CATALOG)
        assert refused.value.param == "previous_response_id"
    assert public(body(previous_response_id="resp_1", conversation=None))["previous_response_id"] == "resp_1"


@pytest.mark.parametrize(("given_as", "sent"), [(" resp_1\n", "resp_1"), ("resp_1", "resp_1"), ("  ", "-"), ("", "-")])
def test_the_previous_response_is_named_without_blanks_or_not_at_all(given_as: str, sent: str) -> None:
    assert public(body(previous_response_id=given_as)).get("previous_response_id", "-") == sent


@pytest.mark.parametrize("truncation", ["auto", "disabled", None])
def test_truncation_is_known_and_never_passed_on(truncation: str | None) -> None:
    assert "truncation" not in public(body(truncation=truncation))


@pytest.mark.parametrize("truncation", ["none", "", 1, {"a": 1}])
def test_truncation_nobody_knows_is_refused(truncation: object) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        public(body(truncation=truncation))

    assert refused.value.param == "truncation"


def test_messages_serve_as_input() -> None:
    raw = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()

    sent = public(raw)

    assert "messages" not in sent
    assert sent["input"] == [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": [], "input": []}, "messages"),
        ({"input": None}, "input"),
        ({"messages": 1, "input": None}, "messages"),
    ],
)
def test_input_comes_from_one_place(members: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        public(body(**members))

    assert refused.value.param == param


@pytest.mark.parametrize(
    ("members", "sent"),
    [
        ({"promptCacheKey": "k"}, {"prompt_cache_key": "k"}),
        ({"promptCacheKey": "k", "prompt_cache_key": "own"}, {"prompt_cache_key": "own"}),
        ({"promptCacheRetention": "24h"}, {}),
        ({"textVerbosity": "low"}, {"text": {"verbosity": "low"}}),
        ({"verbosity": "low", "text": {"format": {"type": "text"}}}, {"text": {"format": {"type": "text"}, "verbosity": "low"}}),
        ({"verbosity": "low", "text": {"verbosity": "high"}}, {"text": {"verbosity": "high"}}),
        ({"reasoningEffort": "high", "reasoningSummary": "auto"}, {"reasoning": {"effort": "high", "summary": "auto"}}),
        ({"reasoning_effort": "high", "reasoning": {"effort": None}}, {"reasoning": {"effort": "high"}}),
        ({"reasoning_effort": "high", "reasoning": {"effort": "low"}}, {"reasoning": {"effort": "low"}}),
        ({"reasoningEffort": None, "verbosity": None}, {}),
        ({"thinking": True}, {"reasoning": {"effort": "medium"}}),
        ({"thinking": False}, {"reasoning": {"effort": "low"}}),
        ({"thinking": "High"}, {"reasoning": {"effort": "high"}}),
        ({"thinking": {"type": "enabled", "budget_tokens": 1000}}, {"reasoning": {"effort": "medium"}}),
        ({"thinking": {"type": "disabled"}}, {"reasoning": {"effort": "low"}}),
        ({"thinking": {"type": "enabled", "effort": "high"}}, {"reasoning": {"effort": "high"}}),
        ({"enable_thinking": True, "reasoning": {"effort": "high"}}, {"reasoning": {"effort": "high"}}),
        ({"thinking": 5}, {}),
        ({"thinking": None}, {}),
        ({"thinking": "deeply"}, {}),
    ],
)  # fmt: skip
def test_other_names_for_known_things_are_understood(members: dict[str, object], sent: dict[str, object]) -> None:
    fixed = {"model", "input", "instructions", "stream", "store", "include"}

    assert {name: value for name, value in public(body(**members)).items() if name not in fixed} == sent


@pytest.mark.parametrize(
    "members", [{"reasoningEffort": 5}, {"reasoningEffort": "e" * 300}, {"verbosity": "x", "text": 5}]
)
def test_other_names_do_not_hide_wrong_values(members: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        public(body(**members))

    assert refused.value.param in ("reasoning.effort", "text")


def test_codex_may_include_and_refer_to_what_it_likes() -> None:
    raw = body(
        stream=True,
        store=False,
        include=["of.next.year"],
        input=[{"type": "item_reference", "id": "x"}, {"role": "system"}],
    )

    assert native(raw) is raw


def test_a_public_request_that_upstream_takes_as_it_is_is_the_very_object_that_came() -> None:
    raw = body(stream=True, store=False, instructions="", input=[{"role": "user", "content": "x"}], odd=[1])

    assert public_turn(raw, CATALOG).body is raw


INTERESTING = st.sampled_from(sorted(READ))
VALUES = json_values | st.sampled_from([
    "gpt-5.4-high-fast", "minimal", "fast", "auto", {"effort": "ultra"}, [{"type": "web_search_preview"}], True,
    {"type": "web_search_preview"}, [{"role": "system", "content": "web_search_preview"}],
])  # fmt: skip


@given(st.dictionaries(INTERESTING, VALUES, max_size=6), unknown_members, st.sampled_from([native_turn, public_turn]))
def test_a_translated_request_needs_no_translation(
    members: dict[str, object], more: dict[str, object], translate: Any
) -> None:
    raw = body(**{"input": "hi", **members, **more})
    try:
        turn = translate(raw, CATALOG)
    except InvalidRequestError:
        return
    again = translate(turn.body, CATALOG)

    assert again.body is turn.body
    assert (again.model, again.reasoning_effort, again.service_tier) == (
        turn.model, turn.reasoning_effort, turn.service_tier,
    )  # fmt: skip
    assert {k: v for k, v in json.loads(turn.body).items() if k in more} == more


@given(st.dictionaries(INTERESTING.filter(lambda name: name != "user"), VALUES, max_size=6), st.booleans())
def test_a_request_of_codexs_that_needs_no_change_is_told_from_one_that_does(
    members: dict[str, object], streams: bool
) -> None:
    asked = {"input": "hi", **({"stream": True, "store": False} if streams else {}), **members}
    as_it_came, changed = body(**asked), body(**asked, user="somebody")  # which upstream refuses
    try:
        turn = native_turn(as_it_came, CATALOG)
    except InvalidRequestError:
        with pytest.raises(InvalidRequestError):
            native_turn(changed, CATALOG)
        return
    other = native_turn(changed, CATALOG)

    assert json.loads(turn.body) == json.loads(other.body)
    assert replace(turn, body=b"", input=None) == replace(other, body=b"", input=None)


def test_a_large_body_of_nothing_but_small_objects_is_not_read_into_objects() -> None:
    few = b'{"model":"m","stream":true,"store":false,"input":[%b{"type":"message"}]}'
    small, dense = few % (b"{}," * OBJECTS_MAX), few % (b"{}," * (SMALL_BYTES // 3 + 1))

    assert native_turn(small, CATALOG).input is not None
    assert native_turn(dense, CATALOG).input is None
    assert native_turn(dense, CATALOG).body is dense
