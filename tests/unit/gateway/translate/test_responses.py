"""Requests reach upstream as their clients wrote them; only what upstream refuses is changed."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.errors import InvalidRequestError
from codex_lb.gateway.translate.responses import NOT_FOR_UPSTREAM, native_body, public_body, read_request

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
READ = {
    "model", "stream", "store", "service_tier", "reasoning", "prompt_cache_key", "previous_response_id",
    "input", "instructions", *NOT_FOR_UPSTREAM,
}  # fmt: skip
unknown_members = st.dictionaries(st.text(max_size=10).filter(lambda name: name not in READ), json_values, max_size=5)
ODD = b'{"a":1.0e2,"n":12345678901234567890123456789,"x":1e400,"s":"\\u00fc\\/","l":[ 1 , 2 ]}'


def body(**members: object) -> bytes:
    return json.dumps({"model": "gpt-5.5", "input": "hi", **members}).encode()


def native(raw: bytes) -> bytes:
    return native_body(raw, read_request(raw))


def public(raw: bytes) -> dict[str, object]:
    read_request(raw)
    translated = json.loads(public_body(raw))
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
    raw = body(**asked, tools=[], include=None, temperature=1)

    assert json.loads(native(raw)) == {**json.loads(raw), "stream": True, "store": False}


@given(unknown_members)
def test_members_nobody_knows_keep_their_values_in_both_dialects(members: dict[str, object]) -> None:
    raw = body(**members)

    assert {k: v for k, v in json.loads(native(raw)).items() if k in members} == members
    assert {k: v for k, v in public(raw).items() if k in members} == members


def test_members_nobody_reads_keep_their_bytes() -> None:
    raw = b'{"model":"m","input":[],"odd":' + ODD + b',"tools":[{"parameters":' + ODD + b"}]}"

    assert ODD in native(raw)
    assert public_body(raw).count(ODD) == 2


def test_a_text_as_input_becomes_one_message() -> None:
    translated = public(body(input='say "hi"\n🙂'))

    assert translated["input"] == [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": 'say "hi"\n🙂'}]}
    ]


@given(st.text(max_size=30))
def test_any_text_as_input_arrives_as_it_was(text: str) -> None:
    assert public(body(input=text))["input"][0]["content"][0]["text"] == text  # type: ignore[index]


def test_a_list_as_input_keeps_its_bytes() -> None:
    items = b'[ {"role":"user", "content":"hi"},\n {"type":"item_of_next_year","x":1.50} ]'

    assert items in public_body(b'{"model":"m","input":' + items + b"}")


def test_the_role_system_becomes_developer_and_nothing_else_of_its_item_changes() -> None:
    system = {"role": "system", "content": 'the word "system" stays', "x": [{"role": "system"}]}
    user = {"role": "user", "content": "system"}

    assert public(body(input=[system, user]))["input"] == [{**system, "role": "developer"}, user]


@pytest.mark.parametrize("name", NOT_FOR_UPSTREAM)
@pytest.mark.parametrize("value", [None, 1, "x", {"a": 1}])
def test_what_upstream_calls_unsupported_is_left_out(name: str, value: object) -> None:
    assert name not in public(body(**{name: value}))


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
        read_request(body(**members))

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

    assert refused.value.param == "input"


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
        read_request(raw)

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
    read_request(raw)

    with pytest.raises(InvalidRequestError):
        public_body(raw)


@pytest.mark.parametrize("raw", [b'{"model":"a","model":"b"}', b'{"model":"a","mod\\u0065l":"b"}'])
def test_the_model_that_is_checked_is_the_model_that_is_sent(raw: bytes) -> None:
    assert read_request(raw).model == json.loads(native(raw))["model"] == "b"
