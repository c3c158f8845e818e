"""Scripted accounts: each step does what its name says."""

import anyio
import httpx
import pytest

from tests.integration.simulator.turns import RESPONSES, a_turn, create, events, items, kinds, signed
from tests.support import upstream as sim
from tests.support.upstream import ANY, Step, Upstream, UpstreamError


async def test_steps_are_played_in_order_and_then_the_account_answers_well(
    upstream: Upstream, client: httpx.AsyncClient
) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", sim.limit(resets_in_s=30), sim.overloaded())

    statuses = [(await create(client, account)).status_code for _ in range(3)]

    assert statuses == [429, 503, 200]
    assert [turn.step for turn in await upstream.turns()] == ["limit:30", "overloaded", None]


async def test_a_default_step_stays(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", sim.ok(), then=sim.unauthorized())

    statuses = [(await create(client, account)).status_code for _ in range(3)]

    assert statuses == [200, 401, 401]


async def test_a_step_for_any_account_is_played_once_by_whoever_comes_first(
    upstream: Upstream, client: httpx.AsyncClient
) -> None:
    first, second = await upstream.add_account("a"), await upstream.add_account("b")
    await upstream.script(ANY, sim.http(500))

    statuses = [(await create(client, account)).status_code for account in (second, first, second)]

    assert statuses == [500, 200, 200]


async def test_the_prompt_may_name_the_step(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")

    answer = await create(client, account, "<<do:rate_limited:7>>")

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "7"
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"


async def test_an_unknown_step_is_the_tests_mistake(upstream: Upstream) -> None:
    await upstream.add_account("a")

    with pytest.raises(UpstreamError, match="unknown step 'explode'"):
        await upstream.script("a", Step("explode"))


async def test_a_limit_names_its_reset_and_shows_a_full_window(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a", plan="pro")
    await upstream.script("a", sim.limit(resets_in_s=90))

    answer = await create(client, account)

    error = answer.json()["error"]
    assert (error["type"], error["plan_type"], error["resets_in_seconds"]) == ("usage_limit_reached", "pro", 90)
    assert "code" not in error
    assert answer.headers["x-codex-primary-used-percent"] == "100"


@pytest.mark.parametrize(
    ("step", "status", "code"),
    [
        (sim.unauthorized(), 401, "token_expired"),
        (sim.deactivated(), 401, "account_deactivated"),
        (sim.overloaded(), 503, "server_is_overloaded"),
        (sim.http(418, "teapot"), 418, "teapot"),
    ],
)
async def test_a_refusal_has_its_status_and_code(
    upstream: Upstream, client: httpx.AsyncClient, step: Step, status: int, code: str
) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", step)

    answer = await create(client, account)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_the_cdn_answers_with_a_page(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", sim.html(502))

    answer = await create(client, account)

    assert answer.status_code == 502
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("step", [sim.refuse(), sim.cut_before_output(), sim.cut_after(700)])
async def test_a_cut_connection_is_cut(upstream: Upstream, client: httpx.AsyncClient, step: Step) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", step)

    with pytest.raises(httpx.RemoteProtocolError):
        await create(client, account)

    assert (await upstream.turn()).ended == "cut"


async def test_a_cut_comes_after_exactly_so_many_bytes(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", sim.cut_after(1234))

    received = bytearray()

    async def read() -> None:
        async with client.stream("POST", RESPONSES, headers=signed(account), json=a_turn()) as answer:
            async for piece in answer.aiter_bytes():
                received.extend(piece)

    with pytest.raises(httpx.RemoteProtocolError):
        await read()

    assert len(received) == 1234
    assert (await upstream.turn()).answer == received


@pytest.mark.parametrize(
    ("step", "types"),
    [
        (sim.failed("server_error"), ["response.created", "response.in_progress", "response.failed"]),
        (sim.failed_first("rate_limit_exceeded"), ["response.failed"]),
        (sim.error("server_error"), ["response.created", "response.in_progress", "error"]),
        (sim.error_first("server_error"), ["error"]),
    ],
)
async def test_a_failure_may_come_inside_a_good_status(
    upstream: Upstream, client: httpx.AsyncClient, step: Step, types: list[str]
) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", step)

    answer = await create(client, account)

    assert answer.status_code == 200
    assert kinds(answer.content) == types


async def test_a_stream_may_end_incomplete_or_without_any_end(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", sim.incomplete(), sim.eof())

    incomplete, eof = [(await create(client, account)).content for _ in range(2)]

    assert events(incomplete)[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert kinds(eof)[-1] == "response.output_item.done"


async def test_a_good_answer_may_hold_garbage_and_strange_things(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", sim.garbage(), sim.strange())

    garbage, strange = [(await create(client, account)).content for _ in range(2)]

    assert b"data: {not json\n\n" in garbage
    assert strange.startswith(b": keepalive\n\n")
    assert "response.future_thing" in kinds(strange)


async def test_a_shredded_answer_is_the_same_answer(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", sim.shred(7))

    answer = await create(client, account, "<<say:in pieces>>")

    assert items(answer.content)[-1]["content"][0]["text"] == "in pieces"


async def test_a_held_stream_shows_its_first_delta_and_waits_for_the_release(
    upstream: Upstream, client: httpx.AsyncClient
) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", sim.hold(), sim.hold())
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await create(client, account))

    async with anyio.create_task_group() as asking:
        asking.start_soon(ask)
        asking.start_soon(ask)
        seen = await upstream.wait_for(lambda seen: seen.held == 2)
        held = [kinds(turn.answer)[-1] for turn in seen.turns]
        released = await upstream.release("a")

    assert held == ["response.output_text.delta"] * 2
    assert released == 2
    assert [kinds(answer.content)[-1] for answer in answers] == ["response.completed"] * 2
    tally = await upstream.tally("a")
    assert (tally.open, tally.open_peak, tally.held) == (0, 2, 0)


@pytest.mark.parametrize(
    "step", [sim.hold(), sim.hold_headers(), sim.hang(), sim.hang_headers(), sim.slow(30), sim.late(30)]
)
async def test_a_caller_who_goes_is_seen_to_go(upstream: Upstream, client: httpx.AsyncClient, step: Step) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", step)

    async with anyio.create_task_group() as asking:
        asking.start_soon(create, client, account)
        await upstream.wait_for(lambda seen: seen.open == 1)
        asking.cancel_scope.cancel()
    seen = await upstream.wait_for(lambda seen: seen.of("a").client_gone == 1)

    [turn] = seen.turns
    assert turn.ended == "client_gone"
    assert turn.client_gone_at is not None
    assert turn.client_gone_at >= turn.received_at
    assert seen.open == 0


async def test_paces_and_an_end_combine(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", sim.combined(sim.late(0.01), sim.slow(0.001), sim.eof()))

    answer = await create(client, account)

    turn = await upstream.turn()
    assert turn.first_byte_at is not None
    assert turn.first_byte_at - turn.received_at >= 0.01
    assert "response.completed" not in kinds(answer.content)
