"""Images through a turn with the image tool: whole, in parts, and refused in the clients' shape."""

from __future__ import annotations

import base64
import json
import re
from io import BytesIO

import pytest
from openai import APIError, AsyncOpenAI

from tests.support.pair import Pair
from tests.support.turns import events_of
from tests.support.upstream import (
    Step,
    cut_after,
    cut_before_output,
    eof,
    failed_first,
    http,
    limit,
    unauthorized,
)

GENERATIONS = "/v1/images/generations"
EDITS = "/v1/images/edits"
CODEX_EDITS = "/backend-api/codex/images/edits"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
PNG_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


@pytest.mark.parametrize("path", [GENERATIONS, "/backend-api/codex/images/generations"])
async def test_an_image_comes_whole_with_the_tools_own_usage(pair: Pair, path: str) -> None:
    await pair.add("a")

    answer = await pair.client.post(path, json={"prompt": "a cat", "size": "1024x1024", "quality": "low", "n": 1})

    made = answer.json()
    assert answer.status_code == 200
    assert base64.b64decode(made["data"][0]["b64_json"]) == PNG
    assert made["data"][0]["revised_prompt"] == "a revised prompt"
    assert (made["usage"]["output_tokens"], made["quality"], made["size"]) == (272, "low", "1024x1024")
    sent = (await pair.upstream.turn()).body
    assert sent["model"] == "gpt-5.5"
    assert sent["tools"] == [
        {"type": "image_generation", "model": "gpt-image-2", "size": "1024x1024", "quality": "low"}
    ]
    assert await pair.upstream.violations() == []
    await pair.settled()


MOVED: dict[str, Step] = {
    "429": limit(resets_in_s=3600),
    "401": unauthorized(),
    "cut before output": cut_before_output(),
    "response.failed": failed_first("rate_limit_exceeded"),
    "500": http(500, "server_error"),
}


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("step", MOVED.values(), ids=MOVED.keys())
async def test_an_image_is_made_by_another_account_when_the_first_fails(
    pair: Pair, step: Step, is_streamed: bool
) -> None:
    await pair.add("bad", "good")
    await pair.upstream.script("bad", then=step)

    for _ in range(2):
        answer = await pair.client.post(GENERATIONS, json={"prompt": "a cat", "stream": is_streamed})

        assert answer.status_code == 200
        assert b"b64_json" in answer.content
        assert b"error" not in answer.content
    await pair.settled()


async def test_the_python_sdk_makes_an_image_and_edits_one(pair: Pair) -> None:
    await pair.add("a")
    client = AsyncOpenAI(base_url=f"{pair.base_url}/v1", api_key="none", max_retries=0)

    made = await client.images.generate(model="gpt-image-1", prompt="a cat", background="transparent", n=1)
    one = await client.images.edit(
        model="gpt-image-1.5", prompt="a hat", image=("a.png", BytesIO(PNG)), input_fidelity="high"
    )
    several = await client.images.edit(
        prompt="both", image=[BytesIO(PNG), BytesIO(PNG)], mask=BytesIO(PNG), output_compression=50
    )
    stream = await client.images.generate(prompt="a cat", stream=True, partial_images=2)
    events = [event async for event in stream]
    edits = [e.type async for e in await client.images.edit(prompt="x", image=BytesIO(PNG), stream=True)]
    await client.close()

    for answer in (made, one, several):
        assert answer.data is not None
        assert base64.b64decode(answer.data[0].b64_json or "") == PNG
    assert made.usage is not None
    assert made.usage.total_tokens == 283
    assert [e.type for e in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [e.partial_image_index for e in events if e.type == "image_generation.partial_image"] == [0, 1]
    assert events[-1].type == "image_generation.completed"
    assert events[-1].usage.output_tokens == 272
    assert edits == ["image_edit.completed"]
    tools = [turn.body["tools"][0] for turn in await pair.upstream.turns()]
    assert tools[1] == {
        "type": "image_generation",
        "model": "gpt-image-1.5",
        "input_fidelity": "high",
        "action": "edit",
    }
    content = (await pair.upstream.turns())[2].body["input"][0]["content"]
    assert [part["type"] for part in content] == ["input_text", "input_image", "input_image", "input_image"]
    assert {part["image_url"] for part in content[1:]} == {PNG_URL}
    assert "The last image is a mask" in content[0]["text"]


async def test_codex_edits_with_data_urls(pair: Pair) -> None:
    await pair.add("a")

    answer = await pair.client.post(CODEX_EDITS, json={"prompt": "a hat", "images": [{"image_url": PNG_URL}]})

    assert base64.b64decode(answer.json()["data"][0]["b64_json"]) == PNG
    assert (await pair.upstream.turn()).body["input"][0]["content"][1]["image_url"] == PNG_URL


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_words_instead_of_an_image_are_told_as_a_failure(pair: Pair, is_streamed: bool) -> None:
    await pair.add("a")

    answer = await pair.client.post(GENERATIONS, json={"prompt": "<<say:I cannot draw that>>", "stream": is_streamed})

    assert answer.status_code == 502
    error = answer.json()["error"]
    assert (error["code"], error["message"]) == ("image_generation_failed", "I cannot draw that")


async def test_a_stream_that_breaks_after_an_image_was_shown_ends_with_an_error(pair: Pair) -> None:
    await pair.add("a", "b")
    wishes = {"prompt": "a cat", "stream": True, "partial_images": 3}
    await pair.client.post(GENERATIONS, json=wishes)
    whole = (await pair.upstream.turn()).answer
    second = [found.start() for found in re.finditer(b"event: response.image_generation_call.partial_image", whole)][1]
    for name in ("a", "b"):
        await pair.upstream.script(name, then=cut_after(second + 100))

    answer = await pair.client.post(GENERATIONS, json=wishes)

    shown, failed = events_of(answer.content)
    assert (shown["type"], shown["partial_image_index"]) == ("image_generation.partial_image", 0)
    assert (failed["type"], failed["error"]["type"]) == ("error", "server_error")
    assert answer.content.endswith(b"data: [DONE]\n\n")
    assert len(await pair.upstream.turns()) == 2
    await pair.settled()


async def test_the_python_sdk_raises_what_a_broken_stream_says(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=eof())
    client = AsyncOpenAI(base_url=f"{pair.base_url}/v1", api_key="none", max_retries=0)
    stream = await client.images.generate(prompt="a cat", stream=True, partial_images=3)

    with pytest.raises(APIError, match="without completion"):
        [event async for event in stream]
    await client.close()


@pytest.mark.parametrize(
    ("wishes", "param"),
    [
        ({}, None),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x", "n": 2}, "n"),
        ({"prompt": "x", "model": "dall-e-3"}, "model"),
        ({"prompt": "x", "size": "100x100"}, "size"),
        ({"prompt": "x", "partial_images": 4}, "partial_images"),
        ({"prompt": "x", "background": "transparent"}, "background"),
        ({"prompt": "x", "quality": "hd"}, "quality"),
    ],
)
async def test_a_wish_that_cannot_be_granted_is_a_400(pair: Pair, wishes: dict[str, object], param: str | None) -> None:
    await pair.add("a")

    answer = await pair.client.post(GENERATIONS, json=wishes)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error.get("param")) == (400, "invalid_request_error", param)
    assert await pair.upstream.turns() == []


@pytest.mark.parametrize(
    ("files", "fields", "status", "param"),
    [
        ([], {"prompt": "x"}, 400, "image"),
        ([("image", ("a", b"GARBAGE"))], {"prompt": "x"}, 400, "image"),
        ([("image", ("a", PNG)), ("mask", ("m", b"GARBAGE"))], {"prompt": "x"}, 400, "mask"),
        ([("image", ("a", PNG)), ("other", ("b", PNG))], {"prompt": "x"}, 400, "other"),
        ([("image", ("a", PNG)), ("mask", ("b", PNG)), ("mask", ("c", PNG))], {"prompt": "x"}, 400, "mask"),
        ([("image[]", ("a", PNG))] * 17, {"prompt": "x"}, 400, "image"),
        ([("image[]", ("a", PNG))] * 18, {"prompt": "x"}, 413, "image[]"),
        ([("image", ("a", PNG))], {"prompt": "x", "n": "2"}, 400, "n"),
        ([("image", ("a", PNG))], {"prompt": "x", "partial_images": "many"}, 400, "partial_images"),
        ([("image", ("a", PNG))], {"prompt": "x", "input_fidelity": "high"}, 400, "input_fidelity"),
        ([("image", ("a", PNG))], {}, 400, None),
    ],
)
async def test_an_edit_that_cannot_be_used_is_refused_by_name(
    pair: Pair, files: list[tuple[str, tuple[str, bytes]]], fields: dict[str, str], status: int, param: str | None
) -> None:
    await pair.add("a")

    answer = await pair.client.post(EDITS, data=fields, files=files or {"": (None, "")})

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error.get("param")) == (status, "invalid_request_error", param)
    assert await pair.upstream.turns() == []


@pytest.mark.parametrize("images", [None, [], [{}], [{"image_url": "https://example.com/a.png"}], [{"image_url": 7}]])
async def test_codex_edits_need_images_as_data(pair: Pair, images: object) -> None:
    answer = await pair.client.post(CODEX_EDITS, json={"prompt": "x", "images": images})

    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_there_are_no_variations(pair: Pair) -> None:
    answer = await pair.client.post("/v1/images/variations", files={"image": ("a.png", PNG)})

    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")
    assert json.loads(answer.content)["error"]["code"] == "not_found"
