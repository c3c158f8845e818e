"""Strict schemas that upstream would refuse are refused at once, and no others."""

from __future__ import annotations

import time
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.errors import InvalidRequestError
from codex_lb.gateway.translate.members import written
from codex_lb.gateway.translate.strict_schema import check_text, check_tools, flaw_of


def closed(**properties: object) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


TEXT = {"type": "string"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["object", "array", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "properties", "items", "anyOf", "$defs", "required", "additionalProperties", "a"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@pytest.mark.parametrize(
    "schema",
    [
        closed(),
        closed(a=TEXT, b=closed(c={"type": "array", "items": closed(d=TEXT)})),
        closed(a={"anyOf": [closed(b=TEXT), {"type": "null"}]}, c={"$ref": "#/$defs/c"}) | {"$defs": {"c": closed()}},
        closed(properties=TEXT, items=TEXT, required=TEXT),
        closed(a={"enum": ["object"]}, b={"const": {"type": "object"}}),
    ],
)
def test_a_closed_schema_is_taken(schema: dict[str, object]) -> None:
    assert flaw_of(schema) is None


OPEN = {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}
OPTIONAL = closed(a=TEXT, b=TEXT) | {"required": ["b"]}


@pytest.mark.parametrize(
    ("schema", "flaw"),
    [
        (OPEN, "In context=(), 'additionalProperties'"),
        (OPEN | {"additionalProperties": True}, "In context=(), 'additionalProperties'"),
        (OPEN | {"additionalProperties": {}}, "In context=(), 'additionalProperties'"),
        (OPTIONAL, "Missing 'a'"),
        (closed(a=TEXT) | {"required": None}, "Missing 'a'"),
        (closed(x=OPEN), "In context=('properties', 'x'), 'additionalProperties'"),
        (closed(x={"type": "array", "items": OPTIONAL}), "In context=('properties', 'x', 'items'), 'required'"),
        (closed(x={"anyOf": [TEXT, OPEN]}), "('properties', 'x', 'anyOf', '1')"),
        (closed(x={"type": ["object", "null"]}), "In context=('properties', 'x'), 'additionalProperties'"),
        (closed() | {"$defs": {"d": OPEN}}, "In context=('$defs', 'd')"),
        ({"type": "array", "items": TEXT}, 'type: "object"'),
        ({}, 'type: "object"'),
        (None, 'type: "object"'),
        (closed() | {"anyOf": [closed()]}, 'type: "object"'),
    ],
)
def test_an_open_schema_is_refused_with_the_place(schema: object, flaw: str) -> None:
    assert flaw in (flaw_of(schema) or "")


def test_a_strict_format_is_refused_by_its_name() -> None:
    form = {"type": "json_schema", "name": "answer", "strict": True, "schema": OPEN}

    with pytest.raises(InvalidRequestError, match="response_format 'answer'") as refused:
        check_text(written({"format": form, "verbosity": "low"}))

    assert (refused.value.code, refused.value.param) == ("invalid_json_schema", "text.format.schema")


def test_a_strict_function_is_refused_by_its_place() -> None:
    tools = [
        {"type": "web_search", "strict": True},
        {"type": "function", "name": "lenient", "strict": False, "parameters": OPEN},
        {"type": "function", "name": "silent", "parameters": OPEN},
        {"type": "function", "name": "none", "strict": True, "parameters": None},
        {"type": "function", "name": "strict", "strict": True, "parameters": OPEN},
    ]

    check_tools(written(tools[:4]))
    with pytest.raises(InvalidRequestError, match="function 'strict'") as refused:
        check_tools(written(tools))

    assert (refused.value.code, refused.value.param) == ("invalid_function_parameters", "tools[4].parameters")


@pytest.mark.parametrize(
    "text",
    [
        None,
        "x",
        {},
        {"format": None},
        {"format": {"type": "text"}},
        {"format": {"type": "json_schema", "schema": OPEN}},
        {"format": {"type": "json_schema", "strict": "true", "schema": OPEN}},
    ],
)
def test_what_is_not_strict_is_upstreams_to_judge(text: object) -> None:
    check_text(written(text))


@given(JSON, JSON)
def test_any_schema_has_a_flaw_or_none(schema: object, tools: object) -> None:
    assert flaw_of(schema) is None or len(flaw_of(schema) or "") < 10_000
    for value in (tools, [tools, {"type": "function", "strict": True, "parameters": schema}]):
        with suppress(InvalidRequestError):
            check_tools(written(value))


def test_a_large_schema_costs_no_more_than_its_size() -> None:
    wide = closed(**{f"p{n}": TEXT for n in range(50_000)})
    deep: dict[str, object] = closed(**{f"p{n}": TEXT for n in range(50_000)})
    for _ in range(200):
        deep = closed(a=deep)

    started = time.process_time()
    assert flaw_of(wide) is None
    assert flaw_of(deep) is None
    check_tools(msgspec.Raw(b'[{"type":"function","strict":true,"parameters":' + b"[" * 100_000))

    assert time.process_time() - started < 2
