"""Clients that leave: upstream is told, slots return, every lease is settled."""

from __future__ import annotations

import asyncio
import random

import httpx

from tests.support.pair import Pair
from tests.support.turns import codex_turn
from tests.support.upstream import hang, hang_headers, hold, slow

CODEX = "/backend-api/codex/responses"
TURNS = 1_000
CLIENTS = 40


async def test_a_client_that_hangs_up_ends_its_upstream_call_within_a_second(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=hold())
    async with pair.client.stream("POST", CODEX, json=codex_turn()) as answer:
        await anext(answer.aiter_raw())

    seen = await pair.upstream.wait_for(lambda s: all(t.client_gone_at for t in s.turns), within_s=1)

    assert len(seen.turns) == 1
    await pair.settled()


async def test_a_client_that_leaves_before_any_answer_frees_its_slot(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=hang_headers())
    asking = asyncio.create_task(pair.client.post(CODEX, json=codex_turn()))
    await pair.upstream.wait_for(lambda s: len(s.turns) == 1)

    asking.cancel()

    await pair.settled()


async def test_a_client_that_leaves_while_it_waits_for_a_slot_leaves_the_queue(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=hold())
    held = [asyncio.create_task(pair.client.post(CODEX, json=codex_turn())) for _ in range(8)]
    await pair.upstream.wait_for(lambda s: s.held == 8)
    waiting = asyncio.create_task(pair.client.post(CODEX, json=codex_turn()))
    while pair.gateway.turns.running < 9:  # noqa: ASYNC110 - the gateway counts, it does not announce
        await asyncio.sleep(0.01)

    waiting.cancel()
    await pair.upstream.release()

    assert [(await one).status_code for one in held] == [200] * 8
    await pair.settled()
    assert len(await pair.upstream.turns()) == 8


async def test_a_full_pool_is_told_as_busy_and_never_exceeds_its_slots(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=hold())
    held = [asyncio.create_task(pair.client.post(CODEX, json=codex_turn())) for _ in range(8)]
    await pair.upstream.wait_for(lambda s: s.held == 8)

    ninth = await pair.client.post(CODEX, json=codex_turn())

    assert ninth.status_code == 429
    assert ninth.json()["error"]["code"] == "account_stream_cap"
    assert int(ninth.headers["retry-after"]) > 0
    await pair.upstream.release()
    await asyncio.gather(*held)
    assert (await pair.upstream.counters()).accounts["a"].open_peak == 8


async def test_a_thousand_turns_with_random_hang_ups_leave_nothing_behind(pair: Pair) -> None:
    chance = random.Random(7)
    await pair.upstream.keep_bytes(keep=False)
    await pair.add("a", "b", "c", "d", "e")
    for name in "abc":
        await pair.upstream.script(name, then=slow(0.002))
    await pair.upstream.script("d", then=hang())
    left: asyncio.Queue[float] = asyncio.Queue()
    for _ in range(TURNS):
        left.put_nowait(chance.random())

    async def client() -> None:
        async with httpx.AsyncClient(base_url=pair.base_url, trust_env=False, timeout=30) as http:
            while not left.empty():
                patience = left.get_nowait()
                try:
                    async with asyncio.timeout(0.001 + patience * 0.12):
                        await http.post(CODEX, json=codex_turn("<<long:5>>"))
                except TimeoutError:
                    pass

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(client())

    await pair.settled()
    assert pair.gateway.turns.running == 0
