"""Responses over WebSocket, from the client to the simulator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI

from tests.support.pair import Pair, start_pair
from tests.support.turns import codex_turn, events_of
from tests.support.upstream import (
    Step,
    Upstream,
    close,
    cut_before_output,
    failed,
    failed_first,
    hold,
    http,
    limit,
    unauthorized,
)

PATH = "/backend-api/codex/responses"
TERMINAL = {"response.completed", "response.failed", "response.incomplete", "error"}


class Client:
    """A WebSocket client that speaks as Codex does."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def ask(self, text: str = "hi", **more: object) -> list[dict[str, Any]]:
        """One turn, to its end."""
        await self.send(text, **more)
        return await self.answer()

    async def send(self, text: str = "hi", **more: object) -> None:
        await self.socket.send_str(json.dumps({"type": "response.create", **codex_turn(text), **more}))

    async def answer(self) -> list[dict[str, Any]]:
        """Frames up to a terminal one, or a close as `{"type": "closed"}`."""
        frames: list[dict[str, Any]] = []
        async with asyncio.timeout(10):
            while True:
                message = await self.socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return [*frames, {"type": "closed", "code": self.socket.close_code}]
                frames.append(json.loads(message.data))
                if frames[-1]["type"] in TERMINAL:
                    return frames


def text_of(frames: list[dict[str, Any]]) -> str:
    return "".join(f["delta"] for f in frames if f["type"] == "response.output_text.delta")


def id_of(frames: list[dict[str, Any]]) -> str:
    return str(frames[-1]["response"]["id"])


@asynccontextmanager
async def connected(pair: Pair, path: str = PATH, **headers: str) -> AsyncIterator[Client]:
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        session.ws_connect(pair.base_url + path, headers=headers, max_msg_size=0) as socket,
    ):
        yield Client(socket)


async def test_turns_follow_one_another_on_one_upstream_socket(pair: Pair) -> None:
    await pair.add("a", "b")

    async with connected(pair) as client:
        warm = await client.ask("base", generate=False)
        first = await client.ask("<<say:one>>", previous_response_id=id_of(warm))
        second = await client.ask("<<say:two>>", previous_response_id=id_of(first))

    assert [text_of(first), text_of(second)] == ["one", "two"]
    turns = await pair.upstream.turns()
    assert len({t.connection for t in turns}) == 1
    assert len({t.account for t in turns}) == 1
    await pair.settled()


async def test_frames_are_passed_as_they_came(pair: Pair) -> None:
    await pair.add("a")

    async with connected(pair) as client:
        frames = await client.ask("<<say:hello>>")

    sent = [json.loads(line) for line in (await pair.upstream.turn()).answer.splitlines() if line.strip()]
    assert [f["type"] for f in frames] == [f["type"] for f in sent][: len(frames)]


@pytest.mark.parametrize(
    "step",
    [
        limit(),
        unauthorized(),
        http(500, "server_error"),
        failed("usage_limit_reached"),
        cut_before_output(),
        close(1011),
    ],
    ids=str.split("limit 401 500 failed cut close"),
)
async def test_a_full_turn_moves_while_nothing_is_visible(pair: Pair, step: Step) -> None:
    await pair.add("bad", "good")
    await pair.upstream.script("bad", then=step)

    for n in range(6):
        async with connected(pair) as client:
            frames = await client.ask(f"{n} <<say:hello>>")
            assert text_of(frames) == "hello", frames
    await pair.settled()


async def test_a_continuation_whose_account_is_spent_is_told_to_start_over_and_then_served(pair: Pair) -> None:
    await pair.add("a", "b")

    async with connected(pair) as client:
        first = await client.ask("<<say:one>>")
        owner = (await pair.upstream.turn()).account
        assert owner is not None
        await pair.upstream.script(owner, then=limit())
        lost = await client.ask("<<say:two>>", previous_response_id=id_of(first))
        again = await client.ask("<<say:two>>")

    assert lost == [lost[0]]
    assert (lost[0]["status"], lost[0]["error"]["code"]) == (400, "previous_response_not_found")
    assert text_of(again) == "two"
    await pair.settled()


@pytest.mark.parametrize("code", ["previous_response_not_found", "invalid_encrypted_content"])
async def test_a_continuation_whose_state_upstream_lost_is_told_to_start_over(pair: Pair, code: str) -> None:
    await pair.add("a")
    async with connected(pair) as client:
        first = await client.ask("one")
        await pair.upstream.script("a", failed_first(code))

        lost = await client.ask("two", previous_response_id=id_of(first))
        again = await client.ask("one two <<say:both>>")

    assert (lost[-1]["type"], lost[-1]["status"], lost[-1]["error"]["code"]) == (
        "error",
        400,
        "previous_response_not_found",
    )
    assert text_of(again) == "both"


async def test_a_response_of_another_connection_cannot_be_continued(pair: Pair) -> None:
    await pair.add("a")
    async with connected(pair) as client:
        first = await client.ask("<<say:one>>")

    async with connected(pair) as client:
        lost = await client.ask("<<say:two>>", previous_response_id=id_of(first))

    assert lost[-1]["error"]["code"] == "previous_response_not_found"
    assert len(await pair.upstream.turns()) == 1


async def test_an_answer_that_breaks_off_closes_the_socket_for_codex_and_is_told_to_an_sdk(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=hold())

    async with connected(pair) as native, connected(pair, "/v1/responses") as public:
        await native.send("<<say:hello there>>")
        await public.send("<<say:hello there>>")
        await pair.upstream.wait_for(lambda s: s.held == 2)
        await pair.upstream.cut()
        seen, told = await native.answer(), await public.answer()

    assert seen[-1] == {"type": "closed", "code": 1011}
    assert told[-1]["type"] == "response.failed"
    assert told[-1]["response"]["error"]["code"] == "server_error"
    await pair.settled()


async def test_a_client_that_leaves_in_the_middle_frees_its_slot(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=hold())
    async with connected(pair) as client:
        await client.send("hi")
        await pair.upstream.wait_for(lambda s: s.held == 1)

    await pair.upstream.wait_for(lambda s: all(t.client_gone_at for t in s.turns), within_s=2)
    await pair.settled()


async def test_a_spent_pool_is_told_with_a_status_and_a_time(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=limit(resets_in_s=3600))

    async with connected(pair) as client:
        frames = await client.ask("hi")

    assert frames[-1]["status"] == 429
    assert frames[-1]["error"]["type"] == "usage_limit_reached"
    assert frames[-1]["error"]["resets_in_seconds"] > 3000


@pytest.mark.parametrize("frame", ["not json", '{"type":"response.create"}', '{"type":"unknown"}', "[]"])
async def test_a_frame_that_cannot_be_used_is_told_and_the_connection_lives(pair: Pair, frame: str) -> None:
    await pair.add("a")

    async with connected(pair) as client:
        await client.socket.send_str(frame)
        told = await client.answer()
        frames = await client.ask("<<say:still here>>")

    assert (told[-1]["type"], told[-1]["status"]) == ("error", 400)
    assert text_of(frames) == "still here"


async def test_turns_that_are_asked_for_together_are_answered_in_order(pair: Pair) -> None:
    await pair.add("a")

    async with connected(pair) as client:
        for word in ("one", "two", "three"):
            await client.send(f"<<say:{word}>>")
        answers = [text_of(await client.answer()) for _ in range(3)]

    assert answers == ["one", "two", "three"]


async def test_upstream_without_websockets_is_spoken_to_by_requests(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=http(426, "upgrade_required"), kind="handshake")

    async with connected(pair) as client:
        frames = await client.ask("<<say:by request>>")

    assert text_of(frames) == "by request"
    assert {t.transport for t in await pair.upstream.turns()} == {"http"}


async def test_a_frame_too_large_for_upstreams_socket_goes_by_request(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.keep_bytes(keep=False)

    async with connected(pair) as client:
        frames = await client.ask("<<say:large>>", metadata_of_ours="x" * 16_000_000)

    assert text_of(frames) == "large"


@pytest.mark.parametrize("origin", ["https://evil.example", "http://[::1", "null", "file://"])
async def test_a_page_of_another_site_is_refused(pair: Pair, origin: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with connected(pair, origin=origin):
            pass

    assert refused.value.status == 403


async def test_a_page_of_this_machine_is_served(pair: Pair) -> None:
    await pair.add("a")

    async with connected(pair, origin="http://localhost:3000") as client:
        frames = await client.ask("<<say:hello>>")

    assert text_of(frames) == "hello"


async def test_the_python_sdk_speaks_over_its_own_connection(pair: Pair) -> None:
    await pair.add("a")
    client = AsyncOpenAI(base_url=f"{pair.base_url}/v1", api_key="none")

    async with client.responses.connect() as connection:
        await connection.response.create(model="gpt-5.5", input="<<say:hello sdk>>")
        seen = []
        async for event in connection:
            seen.append(event)
            if event.type == "response.completed":
                break
    await client.close()

    assert "".join(e.delta for e in seen if e.type == "response.output_text.delta") == "hello sdk"


async def test_with_sockets_forced_an_http_turn_gets_one_of_its_own(upstream: Upstream, tmp_path: Path) -> None:
    await upstream.reset(accounts=True)
    async with start_pair(upstream, tmp_path, transport="websocket") as pair:
        await pair.add("bad", "good")
        await upstream.script("bad", then=limit())
        for n in range(4):
            streamed = await pair.client.post(PATH, json=codex_turn(f"{n} <<say:streamed>>"))
            whole = await pair.client.post("/v1/responses", json={"model": "gpt-5.5", "input": f"{n} <<say:whole>>"})

            assert b"streamed" in streamed.content
            assert events_of(streamed.content)[-1]["type"] == "response.completed"
            assert whole.json()["output"][-1]["content"][0]["text"] == "whole"
        await pair.settled()

        assert {t.transport for t in await upstream.turns()} == {"websocket"}


async def test_with_http_forced_sockets_are_not_offered(upstream: Upstream, tmp_path: Path) -> None:
    async with start_pair(upstream, tmp_path, transport="http") as pair:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with connected(pair):
                pass

    assert refused.value.status == 426
