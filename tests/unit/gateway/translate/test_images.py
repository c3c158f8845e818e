"""Requests of the Images API become turns with one tool; their answers become images again."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.errors import InvalidRequestError, PoolBusyError
from codex_lb.gateway.translate.images import (
    LATEST,
    MODELS,
    ImageFailedError,
    completed_event,
    edit_of_form,
    error_event,
    image_answer,
    is_size,
    partial_event,
    read_edit,
    read_generation,
    turn_body,
)

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
WEBP = b"RIFF\0\0\0\0WEBPVP8 "


def generation(**wishes: object) -> dict[str, Any]:
    body = json.dumps({"prompt": "a cat", **wishes}).encode()
    made: dict[str, Any] = json.loads(turn_body(read_generation(body, default_model=LATEST)))
    return made


def response(*items: dict[str, object], **members: object) -> bytes:
    return json.dumps({"id": "resp_1", "created_at": 7, "output": items, **members}).encode()


def drawing(**members: object) -> dict[str, object]:
    return {"type": "image_generation_call", "result": "QUJD", "size": "1024x1024", "background": None, **members}


def data_of(event: bytes) -> tuple[str, dict[str, Any]]:
    first, second = event.decode().strip().split("\n")
    members: dict[str, Any] = json.loads(second.removeprefix("data: "))
    return first.removeprefix("event: "), members


def test_every_wish_reaches_the_tool_and_nothing_else_does() -> None:
    wishes = {
        "model": "gpt-image-1.5",
        "size": "1536x1024",
        "quality": "low",
        "background": "transparent",
        "output_format": "webp",
        "output_compression": 0,
        "moderation": "low",
    }

    made = generation(**wishes, n=1, user="me", response_format="url", partial_images=2, style=None)

    assert made["tools"] == [{"type": "image_generation", **wishes}]
    assert made["tool_choice"] == {"type": "image_generation"}
    assert (made["stream"], made["store"]) == (True, False)
    assert made["input"][0]["content"] == [{"type": "input_text", "text": "a cat"}]


def test_partial_images_are_asked_for_only_where_they_can_be_shown() -> None:
    assert generation(partial_images=2, stream=True)["tools"][0]["partial_images"] == 2
    assert "partial_images" not in generation(partial_images=2)["tools"][0]


@given(
    st.dictionaries(
        st.sampled_from(
            ["prompt", "model", "n", "size", "quality", "stream", "output_compression", "partial_images", "user"]
        ),
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2),
    )
)
def test_any_request_is_made_into_a_turn_or_refused(wishes: dict[str, object]) -> None:
    with suppress(InvalidRequestError):
        request = read_generation(json.dumps(wishes).encode(), default_model=LATEST)

        assert json.loads(turn_body(request))["tools"][0]["model"] in MODELS


@pytest.mark.parametrize(
    ("size", "is_allowed"),
    [
        ("auto", True),
        ("1024x1024", True),
        ("3840x2160", True),
        ("2160x3840", True),
        ("3856x2048", False),
        ("1025x1024", False),
        ("3072x1008", False),
        ("800x800", False),
        ("816x816", True),
        ("3840x3840", False),
        ("0x0", False),
        ("1024X1024", False),
        ("1024x1024 ", False),
        ("٣٠٠٠x1024", False),
        ("", False),
    ],
)
def test_the_latest_model_draws_at_many_sizes(size: str, is_allowed: bool) -> None:
    assert is_size(size, LATEST) is is_allowed


@pytest.mark.parametrize("model", MODELS[1:])
def test_the_others_draw_at_three(model: str) -> None:
    allowed = [
        s for s in ("auto", "1024x1024", "1536x1024", "1024x1536", "1040x1040", "3840x2160") if is_size(s, model)
    ]

    assert allowed == ["auto", "1024x1024", "1536x1024", "1024x1536"]


def test_an_edit_by_form_carries_its_images_and_its_mask_last() -> None:
    fields = {"prompt": "a hat", "n": "1", "stream": "true", "partial_images": "3", "model": "gpt-image-1"}

    request = edit_of_form(fields, [memoryview(PNG), memoryview(WEBP)], memoryview(PNG), default_model=LATEST)

    made = json.loads(turn_body(request))
    text, *images = made["input"][0]["content"]
    assert text["text"].startswith("a hat\n\nThe last image is a mask")
    assert [image["image_url"].split(",")[0] for image in images] == [
        "data:image/png;base64",
        "data:image/webp;base64",
        "data:image/png;base64",
    ]
    assert base64.b64decode(images[1]["image_url"].split(",")[1]) == WEBP
    assert (made["tools"][0]["action"], made["tools"][0]["partial_images"]) == ("edit", 3)
    assert (request.is_streamed, request.events) == (True, "image_edit")


def test_an_edit_in_json_keeps_its_data_urls() -> None:
    body = json.dumps({"prompt": "x", "images": [{"image_url": "data:image/png;base64,QUJD"}]}).encode()

    made = json.loads(turn_body(read_edit(body, default_model="gpt-image-1-mini")))

    assert made["input"][0]["content"][1] == {"type": "input_image", "image_url": "data:image/png;base64,QUJD"}
    assert made["tools"][0]["model"] == "gpt-image-1-mini"


def test_an_answer_is_the_image_with_the_tools_usage_and_not_the_models() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "new": {}}

    made = json.loads(
        image_answer(
            response(
                {"type": "reasoning"},
                drawing(revised_prompt="b"),
                usage={"input_tokens": 99},
                tool_usage={"image_gen": usage, "other": 1},
            ),
            created=5,
        )
    )

    assert made == {
        "created": 7,
        "data": [{"b64_json": "QUJD", "revised_prompt": "b"}],
        "size": "1024x1024",
        "usage": usage,
    }


def test_a_response_that_says_little_is_enough() -> None:
    body = b'{"output":[{"type":"image_generation_call","result":"QUJD"}]}'

    assert json.loads(image_answer(body, created=5)) == {"created": 5, "data": [{"b64_json": "QUJD"}]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "Upstream answered without an image"),
        (b"{", "Upstream answered without an image"),
        (b'{"output":[]}', "Upstream answered without an image"),
        (response(drawing(result=None)), "Upstream answered without an image"),
        (response({"type": "message", "content": [{"type": "output_text", "text": "I may not"}]}), "I may not"),
        (response({"type": "message", "content": [{"type": "refusal", "refusal": "No"}]}), "No"),
        (response({"type": "message", "content": "?"}), "Upstream answered without an image"),
    ],
)
def test_an_answer_without_an_image_is_a_failure_in_upstreams_words(body: bytes, words: str) -> None:
    for read in (lambda: image_answer(body, created=5), lambda: completed_event(body, "image_edit", created=5)):
        with pytest.raises(ImageFailedError) as failed:
            read()
        assert (failed.value.status, failed.value.code, str(failed.value)) == (502, "image_generation_failed", words)


def test_the_last_event_has_the_image_and_its_usage() -> None:
    name, members = data_of(
        completed_event(response(drawing(), tool_usage={"image_gen": {"a": 1}}), "image_edit", created=5)
    )

    assert name == members["type"] == "image_edit.completed"
    assert (members["b64_json"], members["created_at"], members["usage"]) == ("QUJD", 7, {"a": 1})


def test_a_partial_image_is_told_in_the_clients_words() -> None:
    seen = {
        "type": "response.image_generation_call.partial_image",
        "partial_image_b64": "QUJD",
        "partial_image_index": 1,
        "quality": "low",
    }

    name, members = data_of(partial_event(json.dumps(seen).encode(), "image_generation", created=5))

    assert name == "image_generation.partial_image"
    assert members == {
        "type": name,
        "b64_json": "QUJD",
        "created_at": 5,
        "partial_image_index": 1,
        "quality": "low",
    }


@given(
    st.binary(max_size=50)
    | st.sampled_from(
        [
            b'{"type":"response.output_text.delta"}',
            b"[]",
            b'{"type":"response.image_generation_call.partial_image","partial_image_b64":7}',
        ]
    )
)
def test_any_other_event_is_nothing(data: bytes) -> None:
    assert partial_event(data, "image_generation", created=5) == b""


def test_an_error_is_an_event_that_sdks_raise() -> None:
    name, members = data_of(error_event(PoolBusyError("busy")))

    assert (name, members["type"], members["error"]["message"]) == ("error", "error", "busy")
