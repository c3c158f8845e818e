"""What reviews found: failures that must move, be told once, or not hold anything for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.pair import Pair, start_pair
from tests.support.turns import codex_turn, events_of
from tests.support.upstream import Upstream, combined, eof, failed, shred, slow

CODEX = "/backend-api/codex/responses"


async def test_a_failure_that_is_followed_by_more_still_moves(pair: Pair) -> None:
    await pair.add("bad", "good")
    await pair.upstream.script("bad", then=failed("usage_limit_reached"))

    answers = [await pair.client.post("/v1/responses", json=codex_turn(f"{n} <<say:hello>>")) for n in range(6)]

    assert all(b"response.failed" not in a.content for a in answers)


async def test_events_in_single_bytes_arrive_as_they_were_sent(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=shred(1))

    answer = await pair.client.post(CODEX, json=codex_turn("<<say:hello there>>"))

    assert answer.content == (await pair.upstream.turn()).answer


async def test_a_client_that_stops_reading_does_not_hold_its_slot_for_ever(upstream: Upstream, tmp_path: Path) -> None:
    await upstream.reset(accounts=True)
    async with start_pair(upstream, tmp_path, proxy_request_budget_seconds=2.0) as pair:
        await pair.add("a")
        url = urlsplit(pair.base_url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=1024)
        body = b'{"model":"gpt-5.5","stream":true,"store":false,"input":[{"role":"user","content":"<<long:400000>>"}]}'
        writer.write(f"POST {CODEX} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        await reader.read(1)

        await pair.settled()

        writer.close()


async def test_a_limit_in_the_middle_is_told_once_and_in_our_words(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=combined(slow(0.001), eof()))

    answer = await pair.client.post("/v1/responses", json=codex_turn("<<say:hello>>"))

    assert [e["type"] for e in events_of(answer.content)].count("response.failed") == 1
