"""Upstream breaks off in the middle: one failure that clients understand, never a false end, never a second answer."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.pair import Pair
from tests.support.turns import codex_turn, events_of
from tests.support.upstream import Turn, combined, eof, error, garbage, incomplete, late, limit

CODEX = "/backend-api/codex/responses"
TERMINAL = {"response.completed", "response.failed", "response.incomplete"}


async def recorded(pair: Pair) -> Turn:
    await pair.client.post(CODEX, json=codex_turn("<<say:one two three four>>"))
    return await pair.upstream.turn()


@pytest.mark.parametrize("route", [CODEX, "/v1/responses"])
async def test_a_cut_anywhere_gives_one_failure_or_the_whole_answer(pair: Pair, route: str) -> None:
    await pair.add("a")
    whole = (await recorded(pair)).answer
    visible_from = whole.index(b"event: response.output_item.added")

    async def cut_at(position: int) -> None:
        text = f"<<say:one two three four>> <<do:cut_after:{position}>>"
        answer = await pair.client.post(route, json=codex_turn(text))
        types = [e["type"] for e in events_of(answer.content)]
        ends = [t for t in types if t in TERMINAL]
        if answer.status_code != 200:
            assert position < visible_from + 500, position
            assert answer.json()["error"]["code"] in ("stream_incomplete", "upstream_unavailable")
            return
        assert len(ends) == 1, (position, types)
        assert types[-1] == ends[0]
        assert answer.content.endswith(b"\n\n")

    # Behind the first output a cut is final, so each position costs one call; before it, every retry is cut too.
    step = 1 if route == CODEX else 7
    for start in range(visible_from, len(whole), 8 * step):
        await asyncio.gather(*(cut_at(p) for p in range(start, min(start + 8 * step, len(whole)), step)))
    for start in range(1, visible_from, 8 * 97):
        await asyncio.gather(*(cut_at(p) for p in range(start, min(start + 8 * 97, visible_from), 97)))
    await pair.settled()


async def test_a_stream_that_ends_without_an_end_is_told_as_a_failure(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=eof())

    answer = await pair.client.post(CODEX, json=codex_turn("<<say:hello>>"))

    last = events_of(answer.content)[-1]
    assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "server_error")
    assert len(await pair.upstream.turns()) == 1


async def test_a_failure_of_upstreams_in_the_middle_is_told_once(pair: Pair) -> None:
    await pair.add("a", "b")
    for name in "ab":
        await pair.upstream.script(name, then=error("server_error"))

    answer = await pair.client.post("/v1/responses", json=codex_turn("<<say:hello>>"))

    ends = [e for e in events_of(answer.content) if e["type"] in TERMINAL]
    assert len(ends) <= 1
    assert answer.status_code in (200, 502)


async def test_an_incomplete_answer_is_an_answer(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=incomplete("max_output_tokens"))

    streamed = await pair.client.post(CODEX, json=codex_turn("<<say:hello>>"))
    whole = await pair.client.post("/v1/responses", json={"model": "gpt-5.5", "input": "<<say:hello>>"})

    assert events_of(streamed.content)[-1]["type"] == "response.incomplete"
    assert whole.json()["status"] == "incomplete"


async def test_a_silent_codex_is_kept_alive_with_data_and_an_sdk_with_comments(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=late(1.5))

    native = await pair.client.post(CODEX, json=codex_turn("<<say:hello>>"))
    public = await pair.client.post("/v1/responses", json=codex_turn("<<say:hello>>"))

    assert b'data: {"type":"codex.keepalive"}' in native.content
    assert public.content.startswith(b": keepalive\n\n")
    assert events_of(public.content)[0]["type"] == "response.created"


async def test_a_turn_may_still_move_behind_a_keep_alive(pair: Pair) -> None:
    await pair.add("a", "b")
    for name in "ab":
        await pair.upstream.script(name, combined(late(1.5), limit()))

    answers = [await pair.client.post(CODEX, json=codex_turn("<<say:hello>>")) for _ in range(2)]

    assert {a.status_code for a in answers} <= {200, 429}
    assert b"hello" in answers[0].content or b"usage_limit_reached" in answers[0].content


async def test_output_that_is_no_json_passes_unread(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=garbage())

    answer = await pair.client.post(CODEX, json=codex_turn("<<say:hello>>"))

    assert answer.content == (await pair.upstream.turn()).answer
