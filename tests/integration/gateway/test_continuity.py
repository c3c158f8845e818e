"""Conversations stay with the account that can read them, and go on without it when they must."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError

from tests.support.pair import Pair, start_pair
from tests.support.turns import codex_turn, events_of
from tests.support.upstream import ANY, Step, Upstream, eof, failed_first, hang, hang_headers, http, limit, rate_limited

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


LOST = [
    failed_first("previous_response_not_found"),
    http(400, "previous_response_not_found"),
    http(400, "invalid_encrypted_content"),
]


@pytest.mark.parametrize("lost", LOST)
async def test_state_that_upstream_lost_though_the_client_sent_everything_is_not_the_clients_to_mend(
    pair: Pair, lost: Step
) -> None:
    await pair.add("a")
    conversation = Conversation(pair)
    await conversation.say("<<say:one>>")
    await pair.upstream.script("a", lost, lost)

    events = await conversation.say("<<say:two>>")

    assert events[-1]["type"] == "response.completed"


async def test_a_continuation_that_upstream_cannot_find_is_told_to_its_client_unchanged(pair: Pair) -> None:
    await pair.add("a", "b")
    await pair.upstream.script(ANY, then=http(400, "previous_response_not_found"))

    answer = await pair.client.post(CODEX, json={**codex_turn(), "previous_response_id": "resp_1"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "previous_response_not_found")
    assert len(await pair.upstream.turns()) == 1


@pytest.mark.parametrize("silence", [hang(), hang_headers()], ids=["an answer that stops", "no answer at all"])
async def test_an_account_that_falls_silent_before_anything_was_shown_is_left(
    upstream: Upstream, tmp_path: Path, silence: Step
) -> None:
    await upstream.reset(accounts=True)
    async with start_pair(upstream, tmp_path, stream_idle_timeout_seconds=0.4) as pair:
        await pair.add("a", "b")
        conversation = Conversation(pair)
        await conversation.say("<<say:one>>")
        owner = (await accounts_of(pair))[0]
        assert owner is not None
        await upstream.script(owner, then=silence)

        await conversation.say("<<say:two>>")

        assert await accounts_of(pair) == [owner, owner, *({"a", "b"} - {owner})]
        await pair.settled()


async def test_a_pool_that_is_silent_everywhere_is_told_as_silent(upstream: Upstream, tmp_path: Path) -> None:
    await upstream.reset(accounts=True)
    async with start_pair(upstream, tmp_path, stream_idle_timeout_seconds=0.3) as pair:
        await pair.add("a", "b")
        for name in "ab":
            await upstream.script(name, then=hang_headers())

        silent = await pair.client.post(CODEX, json=codex_turn())

        assert (silent.status_code, silent.json()["error"]["code"]) == (502, "stream_idle_timeout")
        assert len(await accounts_of(pair)) == 2


async def test_a_conversation_does_not_return_to_where_it_met_a_limit_while_others_can_serve(pair: Pair) -> None:
    await pair.add("a", "b", "c")
    headers = {"session-id": "s"}
    await pair.client.post(CODEX, json=codex_turn(), headers=headers)
    limited = (await accounts_of(pair))[0]
    assert limited is not None
    others = [name for name in "abc" if name != limited]
    await pair.upstream.script(limited, rate_limited(retry_after_s=1))
    for name in others:
        await pair.upstream.script(name, eof())  # visible: the client is told, and tries again
    await pair.client.post(CODEX, json=codex_turn("<<say:hi>>"), headers=headers)
    await pair.settled()
    await asyncio.sleep(1.5)  # the limit is over

    await pair.client.post(CODEX, json=codex_turn("<<say:hi>>"), headers=headers)

    first, *rest = (await accounts_of(pair))[1:]
    assert first == limited
    assert limited not in rest
