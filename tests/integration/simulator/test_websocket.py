"""Turns over a WebSocket: the same answers as frames, and what only a socket can do."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.integration.simulator.turns import RESPONSES, a_turn, signed
from tests.support import upstream as sim
from tests.support.upstream import SimAccount, Step, Upstream

END = ("response.completed", "response.incomplete", "response.failed", "error")


class Socket:
    """A caller on a socket."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def turn(self, prompt: str = "hello", **more: Any) -> list[dict[str, Any]]:
        """Sends one frame; returns every frame up to the last."""
        body = a_turn(prompt, **more)
        del body["stream"]
        await self.ws.send_json({"type": "response.create", **body})
        return await self.answer()

    async def answer(self) -> list[dict[str, Any]]:
        """Frames up to a terminal one, or up to the end of the socket."""
        frames: list[dict[str, Any]] = []
        while not frames or frames[-1]["type"] not in END:
            message = await self.ws.receive(timeout=10)
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            frames.append(message.json())
        return frames


@pytest.fixture
async def session(upstream: Upstream) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(upstream.base_url) as session:
        yield session


async def connect(session: aiohttp.ClientSession, account: SimAccount) -> Socket:
    return Socket(await session.ws_connect(RESPONSES, headers=signed(account)))


async def test_a_turn_comes_as_frames_with_the_limits_first(upstream: Upstream, session: aiohttp.ClientSession) -> None:
    account = await upstream.add_account("a")
    socket = await connect(session, account)

    frames = await socket.turn("<<say:over a socket>>")

    assert frames[0]["type"] == "codex.rate_limits"
    assert frames[1]["type"] == "response.created"
    assert frames[-1]["type"] == "response.completed"
    turn = await upstream.turn()
    assert (turn.transport, turn.account, turn.ended) == ("websocket", "a", "complete")
    assert (await upstream.tally("a")).sockets_open == 1


async def test_a_turn_builds_on_the_warm_up_before_it(upstream: Upstream, session: aiohttp.ClientSession) -> None:
    account = await upstream.add_account("a")
    socket = await connect(session, account)

    warm = await socket.turn(generate=False)
    said = await socket.turn("go on", previous_response_id=warm[-1]["response"]["id"])

    assert [frame["type"] for frame in warm[1:]] == ["response.created", "response.completed"]
    usage = said[-1]["response"]["usage"]
    assert usage["input_tokens_details"]["cached_tokens"] == warm[-1]["response"]["usage"]["input_tokens"]
    assert [row.kind for row in await upstream.log()] == ["handshake", "warmup", "responses"]
    assert (await upstream.tally("a")).warmups == 1


async def test_a_response_is_known_on_its_own_account_only(upstream: Upstream, session: aiohttp.ClientSession) -> None:
    first, second = [await connect(session, await upstream.add_account(name)) for name in "ab"]
    known = (await first.turn())[-1]["response"]["id"]

    own = await first.turn(previous_response_id=known)
    foreign = await second.turn(previous_response_id=known)

    assert own[-1]["type"] == "response.completed"
    assert foreign[-1]["status"] == 400
    assert foreign[-1]["error"]["code"] == "previous_response_not_found"


@pytest.mark.parametrize(
    ("step", "status", "code"),
    [
        (sim.limit(), 429, "usage_limit_reached"),
        (sim.rate_limited(), 429, "rate_limit_exceeded"),
        (sim.unauthorized(), 401, "token_expired"),
        (sim.overloaded(), 503, "server_is_overloaded"),
    ],
)
async def test_a_refusal_is_a_frame_with_a_numeric_status(
    upstream: Upstream, session: aiohttp.ClientSession, step: Step, status: int, code: str
) -> None:
    socket = await connect(session, await upstream.add_account("a"))
    await upstream.script("a", step)

    refused, good = await socket.turn(), await socket.turn()

    [frame] = refused
    assert (frame["type"], frame["status"]) == ("error", status)
    assert frame["error"].get("code", frame["error"]["type"]) == code
    assert "x-codex-primary-used-percent" in frame["headers"]
    assert good[-1]["type"] == "response.completed"


async def test_a_body_that_is_refused_over_http_is_refused_here_too(
    upstream: Upstream, session: aiohttp.ClientSession
) -> None:
    socket = await connect(session, await upstream.add_account("a"))

    [frame] = await socket.turn(temperature=1)

    assert (frame["status"], frame["error"]["message"]) == (400, "Unsupported parameter: temperature")


@pytest.mark.parametrize("status", [401, 403, 426, 429, 500])
async def test_a_handshake_may_be_refused(upstream: Upstream, session: aiohttp.ClientSession, status: int) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", sim.http(status), kind="handshake")

    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await connect(session, account)

    assert refused.value.status == status
    assert (await (await connect(session, account)).turn())[-1]["type"] == "response.completed"


async def test_a_leaking_handshake_is_a_violation(upstream: Upstream, session: aiohttp.ClientSession) -> None:
    account = await upstream.add_account("a")

    with pytest.raises(aiohttp.WSServerHandshakeError):
        await session.ws_connect(RESPONSES, headers=signed(account, **{"x-forwarded-for": "10.0.0.1"}))

    assert [violation.kind for violation in await upstream.violations()] == ["leaked_header"]


@pytest.mark.parametrize(
    ("step", "code"), [(sim.close(1011), 1011), (sim.eof(), 1000), (sim.cut_before_output(), 1006)]
)
async def test_a_socket_may_close_in_the_middle(
    upstream: Upstream, session: aiohttp.ClientSession, step: Step, code: int
) -> None:
    socket = await connect(session, await upstream.add_account("a"))
    await upstream.script("a", step)

    frames = await socket.turn()

    assert frames[-1]["type"] not in END
    assert socket.ws.close_code == code
    await upstream.wait_for(lambda seen: seen.of("a").sockets_open == 0)


async def test_a_caller_who_goes_ends_the_turn(upstream: Upstream, session: aiohttp.ClientSession) -> None:
    socket = await connect(session, await upstream.add_account("a"))
    await upstream.script("a", sim.hold())
    await socket.ws.send_json({"type": "response.create", **a_turn()})
    await upstream.wait_for(lambda seen: seen.held == 1)

    await socket.ws.close()
    seen = await upstream.wait_for(lambda seen: seen.of("a").sockets_open == 0)

    assert [turn.ended for turn in seen.turns] == ["client_gone"]
    assert (seen.open, seen.held) == (0, 0)


async def test_connections_are_cut_on_command(upstream: Upstream, session: aiohttp.ClientSession) -> None:
    busy, idle = [await connect(session, await upstream.add_account(name)) for name in "ab"]
    await upstream.script("a", sim.hold())
    await busy.ws.send_json({"type": "response.create", **a_turn()})
    await upstream.wait_for(lambda seen: seen.held == 1)

    ended = await upstream.cut("a")
    await busy.answer()

    assert ended == 2  # the socket and the turn on it
    assert busy.ws.close_code == 1006
    assert (await upstream.turn()).ended == "cut"
    assert (await idle.turn())[-1]["type"] == "response.completed"


async def test_an_idle_socket_answers_pings(upstream: Upstream, session: aiohttp.ClientSession) -> None:
    account = await upstream.add_account("a")
    ws = await session.ws_connect(RESPONSES, headers=signed(account), autoping=False)

    await ws.ping(b"there?")
    pong = await ws.receive(timeout=10)

    assert (pong.type, pong.data) == (aiohttp.WSMsgType.PONG, b"there?")
    await ws.close()
