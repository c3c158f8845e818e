"""Conversations stay with the account that can read them, and go on without it when they must."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError

from tests.support.pair import Pair, start_pair
from tests.support.turns import codex_turn, events_of
from tests.support.upstream import Upstream, limit

CODEX = "/backend-api/codex/responses"


class Conversation:
    """A client that keeps the whole history and sends it with every turn, as Codex does."""

    def __init__(self, pair: Pair, **headers: str) -> None:
        self._pair = pair
        self._headers = headers
        self.items: list[dict[str, Any]] = []

    async def say(self, text: str) -> list[dict[str, Any]]:
        content = [{"type": "input_text", "text": text}]
        self.items.append({"type": "message", "role": "user", "content": content})
        turn = codex_turn(reasoning={"effort": "high"}, input=self.items)
        answer = await self._pair.client.post(CODEX, json=turn, headers=self._headers)
        events = events_of(answer.content)
        assert events[-1]["type"] == "response.completed", answer.text
        self.items += [e["item"] for e in events if e["type"] == "response.output_item.done"]
        return events


async def accounts_of(pair: Pair) -> list[str | None]:
    return [turn.account for turn in await pair.upstream.turns()]


async def test_a_conversation_with_thoughts_stays_on_its_account(pair: Pair) -> None:
    await pair.add(*"abcd")
    conversation = Conversation(pair)

    for n in range(6):
        await conversation.say(f"<<say:answer {n}>>")

    assert len(set(await accounts_of(pair))) == 1
    assert await pair.upstream.violations() == []


async def test_a_conversation_whose_account_is_spent_goes_on_without_its_thoughts(pair: Pair) -> None:
    await pair.add("a", "b")
    conversation = Conversation(pair)
    await conversation.say("<<say:one>>")
    owner = (await accounts_of(pair))[0]
    assert owner is not None
    await pair.upstream.script(owner, then=limit())

    await conversation.say("<<say:two>>")
    await conversation.say("<<say:three>>")

    served = await accounts_of(pair)
    assert served[1:] == [owner, *[a for a in "ab" if a != owner] * 2]
    assert await pair.upstream.violations() == []


async def test_a_conversation_is_found_again_after_control_restarted(upstream: Upstream, tmp_path: Path) -> None:
    await upstream.reset(accounts=True)
    async with start_pair(upstream, tmp_path) as pair:
        await pair.add(*"abcd")
        conversation = Conversation(pair)
        await conversation.say("<<say:one>>")
        await pair.settled()

    async with start_pair(upstream, tmp_path) as pair:
        conversation._pair = pair
        for n in range(4):
            await conversation.say(f"<<say:{n}>>")

        assert len(set(await accounts_of(pair))) == 1
        assert await pair.upstream.violations() == []


async def test_thoughts_of_nobody_we_know_are_left_out_once_upstream_refuses_them(pair: Pair) -> None:
    await pair.add("a")
    conversation = Conversation(pair)
    ciphertext = "gAAAAAB" + "x" * 80
    conversation.items = [{"type": "reasoning", "summary": [], "encrypted_content": ciphertext}]

    events = await conversation.say("<<say:still an answer>>")

    assert events[-1]["type"] == "response.completed"


async def test_clients_without_session_ids_keep_their_account(pair: Pair) -> None:
    await pair.add(*"abcd")

    async def talk(name: int) -> set[str | None]:
        items: list[dict[str, Any]] = []
        for n in range(4):
            items.append({"role": "user", "content": f"conversation {name}, part {n}"})
            answer = await pair.client.post("/v1/responses", json={"model": "gpt-5.5", "input": items})
            items.append({"role": "assistant", "content": answer.json()["output"][-1]["content"][0]["text"]})
        turns = await pair.upstream.turns()
        return {t.account for t in turns if f"conversation {name}," in str(t.body)}

    accounts = await asyncio.gather(*(talk(n) for n in range(8)))

    assert [len(served) for served in accounts] == [1] * 8


async def test_sessions_are_spread_over_accounts_and_each_stays(pair: Pair) -> None:
    await pair.add(*"abcd")

    for n in range(24):
        await pair.client.post(CODEX, json=codex_turn(f"{n}"), headers={"session-id": f"s{n % 8}"})

    by_session: dict[str | None, set[str | None]] = {}
    for turn in await pair.upstream.turns():
        by_session.setdefault(turn.header("session-id"), set()).add(turn.account)
    assert all(len(accounts) == 1 for accounts in by_session.values())
    assert len(set().union(*by_session.values())) > 1


async def test_an_sdk_that_sends_only_what_is_new_is_understood(pair: Pair) -> None:
    await pair.add("a", "b")
    client = AsyncOpenAI(base_url=f"{pair.base_url}/v1", api_key="none", max_retries=0)
    first = await client.responses.create(model="gpt-5.5", input="my name is Ada <<say:noted>>")

    second = await client.responses.create(model="gpt-5.5", input="<<say:Ada>>", previous_response_id=first.id)
    third = await client.responses.create(model="gpt-5.5", input="<<say:still Ada>>", previous_response_id=second.id)
    with pytest.raises(BadRequestError) as unknown:
        await client.responses.create(model="gpt-5.5", input="hi", previous_response_id="resp_unknown")
    await client.close()

    assert [second.output_text, third.output_text] == ["Ada", "still Ada"]
    assert [second.previous_response_id, third.previous_response_id] == [first.id, second.id]
    assert unknown.value.code == "previous_response_not_found"
    last = (await pair.upstream.turns())[2]
    assert "my name is Ada" in str(last.body)
    assert {v.kind for v in await pair.upstream.violations()} <= {"refused_body"}


async def test_an_answer_that_was_not_to_be_stored_is_not_remembered(pair: Pair) -> None:
    await pair.add("a")
    client = AsyncOpenAI(base_url=f"{pair.base_url}/v1", api_key="none", max_retries=0)
    first = await client.responses.create(model="gpt-5.5", input="secret", store=False)

    with pytest.raises(BadRequestError):
        await client.responses.create(model="gpt-5.5", input="hi", previous_response_id=first.id)
    await client.close()
