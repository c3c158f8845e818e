"""Images by URL in requests: found and replaced, and nothing else touched."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.translate.image_parts import INLINED_BYTES_MAX, PARTS_MAX, image_urls, with_images

A, B = "https://a.example.com/a.png", "https://b.example.com/b.png"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def part(url: object, **more: object) -> dict[str, object]:
    return {"type": "input_image", "image_url": url, **more}


def body(*parts: object, **more: object) -> bytes:
    return json.dumps({"model": "m", "input": [{"role": "user", "content": parts}], **more}).encode()


def test_images_are_found_in_messages_and_in_what_tools_answered() -> None:
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": A}, part(A)]},
        {"type": "function_call_output", "call_id": "c", "output": [part(B), part(A)]},
        {"type": "custom_tool_call_output", "call_id": "d", "output": [part("HTTPS://c.example.com/")]},
    ]

    assert image_urls(json.dumps({"input": items}).encode()) == [A, B, "HTTPS://c.example.com/"]


@pytest.mark.parametrize(
    "request_body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'"input_image" https:',
        b'{"input":"\\"input_image\\" https://a"}',
        b'{"input":[7,"x",null,[],{"content":7},{"content":[7,null,"input_image","https://a"]}]}',
        b'{"input":"\xff","x":["input_image","https://a"]}',
        b'{"input":' + b"[" * 5000 + b'"input_image","https:"' + b"]" * 5000 + b"}",
        body(part("http://a.example.com")),
        body(part("data:image/png;base64,AAAA"), part("https:example")),
        body(part(None), part(7), part({"url": A}), {"type": "input_image", "file_id": "https://"}),
        body({"type": "input_text", "image_url": A, "text": "input_image"}),
        body(part("https://a.example.com/" + "a" * 9000)),
        json.dumps({"instructions": [part(A)], "input": []}).encode(),
    ],
)
def test_a_body_without_such_images_stays_the_very_same(request_body: bytes) -> None:
    assert image_urls(request_body) == []
    assert with_images(request_body, {A: "data:"}) is request_body


def test_escaped_slashes_hide_nothing() -> None:
    assert image_urls(body(part(A)).replace(b"/", b"\\/")) == [A]


def test_an_image_that_was_not_fetched_stays_a_url() -> None:
    request = body(part(A), part(B))

    assert with_images(request, {}) is request
    parts = json.loads(with_images(request, {B: "data:b"}))["input"][0]["content"]
    assert [p["image_url"] for p in parts] == [A, "data:b"]


def test_every_other_value_keeps_its_bytes() -> None:
    before = b'{ "n" : 1.0e+2, "t":"\\u00e9\\/", "input" : [ {"x": [ 1 ]} , {"content":[ {"type":"input_image", "image_url":"%s", "detail" : "\\u0068igh"}, {"text" :  "a"} ]} ] , "z": {"a" : 1} }'

    after = with_images(before % A.encode(), {A: "data:a"})

    assert after == (
        b'{"n":1.0e+2,"t":"\\u00e9\\/","input":[{"x": [ 1 ]},{"content":[{"type":"input_image","image_url":"data:a",'
        b'"detail":"\\u0068igh"},{"text" :  "a"}]}],"z":{"a" : 1}}'
    )


def test_a_short_request_does_not_become_one_of_any_size() -> None:
    large = "data:" + "x" * (INLINED_BYTES_MAX // 3)

    many = json.loads(with_images(body(*[part(A)] * 1000), {A: "data:a"}))["input"][0]["content"]
    heavy = with_images(body(*[part(A)] * 1000), {A: large})

    assert [p["image_url"] for p in many].count("data:a") == PARTS_MAX
    assert len(heavy) < INLINED_BYTES_MAX + 100_000


@given(
    st.dictionaries(st.text(max_size=8), JSON, max_size=6),
    st.lists(JSON, max_size=3),
    st.dictionaries(st.text(max_size=8), JSON, max_size=4),
)
def test_whatever_else_a_request_holds_survives(
    more: dict[str, Any], items: list[Any], part_more: dict[str, Any]
) -> None:
    image = {**part_more, "type": "input_image", "image_url": A}
    request = {**more, "input": [*items, {"content": [*items, image]}]}

    after = with_images(msgspec.json.encode(request), {A: "data:a"})

    image["image_url"] = "data:a"
    assert json.loads(after) == request
    assert with_images(after, {A: "data:a"}) is after


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange(noise: bytes) -> None:
    for request in (
        noise,
        b'{"input":[{"content":[{"type":"input_image","image_url":"https://' + noise,
        b'"input_image"https:' + noise,
    ):
        assert with_images(request, dict.fromkeys(image_urls(request), "data:")) is not None
