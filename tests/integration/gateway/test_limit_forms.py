"""A limit, in every form upstream gives it: the client notices nothing, on its first turn and on later ones."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.support.pair import Pair
from tests.support.turns import codex_turn, events_of
from tests.support.upstream import ANY, Step, Window, close, cut_before_output, error_first, failed_first, limit

CODEX = "/backend-api/codex/responses"
SPENT = Window(used_percent=100.0)
# A status over HTTP, an error frame over WebSocket; an event; a close of an account that says it is at 100 %.
FORMS = [limit(), failed_first("usage_limit_reached"), error_first("usage_limit_reached"), cut_before_output()]
FINAL = ("response.completed", "response.failed", "error")
Item = dict[str, Any]


class Http:
    """Codex over HTTP: the whole history with every turn."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.items: list[Item] = []

    async def say(self, text: str) -> list[str]:
        """The types of the events that it was answered with."""
        self.items.append(said(text))
        turn = codex_turn(reasoning={"effort": "high"}, input=self.items)
        answer = await self._pair.client.post(CODEX, json=turn)
        return self._took(events_of(answer.content))

    def _took(self, events: list[Item]) -> list[str]:
        self.items += [event["item"] for event in events if event["type"] == "response.output_item.done"]
        return [event["type"] for event in events]


class Socket(Http):
    """Codex over WebSocket: only what is new, and everything once it is told to start over."""

    def __init__(self, pair: Pair, socket: aiohttp.ClientWebSocketResponse) -> None:
        super().__init__(pair)
        self._socket = socket
        self._last_id = ""

    async def say(self, text: str) -> list[str]:
        self.items.append(said(text))
        if self._last_id:
            events = await self._ask(previous_response_id=self._last_id, input=self.items[-1:])
            if events[-1].get("error", {}).get("code") != "previous_response_not_found":
                return self._took(events)
        return self._took(await self._ask(input=self.items))

    async def _ask(self, **more: object) -> list[Item]:
        turn = {"type": "response.create", **codex_turn(reasoning={"effort": "high"}), **more}
        await self._socket.send_str(json.dumps(turn))
        events: list[Item] = []
        while not events or events[-1]["type"] not in FINAL:
            events.append(json.loads((await self._socket.receive(timeout=10)).data))
        if events[-1]["type"] == "response.completed":
            self._last_id = events[-1]["response"]["id"]
        return events


def said(text: str) -> Item:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


@asynccontextmanager
async def client_of(pair: Pair, transport: str) -> AsyncIterator[Http]:
    if transport == "http":
        yield Http(pair)
        return
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        session.ws_connect(pair.base_url + CODEX, max_msg_size=0) as socket,
    ):
        yield Socket(pair, socket)


async def spend(pair: Pair, name: str, form: Step) -> None:
    """From now on the account refuses in this form."""
    if form == cut_before_output():
        await pair.upstream.set_usage(name, primary=SPENT, is_enforced=False)
    await pair.upstream.script(name, then=form)


@pytest.mark.parametrize("transport", ["http", "websocket"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: str(form)[:25])
async def test_a_limit_is_not_noticed_on_the_first_turn(pair: Pair, form: Step, transport: str) -> None:
    await pair.add("a", "b")
    if form == cut_before_output():
        for name in "ab":
            await pair.upstream.set_usage(name, primary=SPENT, is_enforced=False)
    await pair.upstream.script(ANY, form)

    async with client_of(pair, transport) as client:
        types = await client.say("<<say:hello>>")

    assert types[-1] == "response.completed"
    assert not {"response.failed", "error"} & set(types)
    turns = await pair.upstream.turns()
    assert len(turns) == len({turn.account for turn in turns}) == 2  # the spent account was asked once
    assert await pair.upstream.violations() == []


@pytest.mark.parametrize("transport", ["http", "websocket"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: str(form)[:25])
async def test_a_limit_is_not_noticed_on_a_later_turn(pair: Pair, form: Step, transport: str) -> None:
    await pair.add("a", "b")

    async with client_of(pair, transport) as client:
        await client.say("<<say:one>>")
        owner = (await pair.upstream.turn()).account
        assert owner is not None
        await spend(pair, owner, form)
        second = await client.say("<<say:two>>")
        third = await client.say("<<say:three>>")

    for types in (second, third):
        assert types[-1] == "response.completed"
        assert not {"response.failed", "error"} & set(types)
    served = [turn.account for turn in await pair.upstream.turns() if turn.ended == "complete" and turn.status == 200]
    assert owner not in served[-2:]
    assert await pair.upstream.violations() == []


@pytest.mark.parametrize("transport", ["http", "websocket"])
async def test_a_client_that_tries_again_after_a_broken_answer_is_served_elsewhere(pair: Pair, transport: str) -> None:
    await pair.add("a", "b")

    async with client_of(pair, transport) as client:
        await client.say("<<say:one>>")
        owner = (await pair.upstream.turn()).account
        assert owner is not None
        before = list(client.items)
        await pair.upstream.script(owner, then=close(1011))
        assert "response.completed" not in await heard_out(client, "<<say:two>>")

    async with client_of(pair, transport) as again:
        again.items = before
        types = await again.say("<<say:two>>")

    assert types[-1] == "response.completed"
    assert (await pair.upstream.turns())[-1].account != owner


async def heard_out(client: Http, text: str) -> list[str]:
    """The types of events until the answer or the connection breaks off."""
    try:
        return await client.say(text)
    except (TypeError, TimeoutError):  # the frame of a socket that was closed has no text
        return []
