"""Limits of API keys across what can happen to control and gateways: restarts, silence, repeats, the end of a window."""

from __future__ import annotations

from codex_lb.api.admin.v1 import api_key_service_pb2 as keys_pb
from codex_lb.api.control.v1 import leases_pb2 as pb
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.control.rpcs.instants import instant
from tests.integration.control.conftest import OpenControl
from tests.integration.control.peers import Peers, completed, eventually, held, open_peers
from tests.support.clock import NOON, FakeClock
from tests.support.logins import auth_file

DAY_S = 86_400.0
TOKENS = keys_pb.Limit(unit=keys_pb.LIMIT_UNIT_TOTAL_TOKENS, window=keys_pb.LIMIT_WINDOW_DAY, amount_max=1000)


async def make_key(peers: Peers, *limits: keys_pb.Limit) -> str:
    """A key on a pool that can serve it; its id."""
    await peers.import_(auth_file("ann"), auth_file("ben"))
    made = await peers.api_keys.CreateApiKey(
        keys_pb.CreateApiKeyRequest(api_key=keys_pb.ApiKey(display_name="ci", limits=limits or [TOKENS]))
    )
    return made.api_key.name.removeprefix("apiKeys/")


async def limit_of(peers: Peers, key: str) -> tuple[int, int]:
    """Used and reserved of the key's only limit."""
    [limit] = (await peers.api_keys.GetApiKey(keys_pb.GetApiKeyRequest(name=f"apiKeys/{key}"))).limits
    return limit.amount_used, limit.amount_reserved


async def test_a_lease_carries_what_it_reserved_and_its_settlement_puts_the_truth_there(peers: Peers) -> None:
    key = await make_key(peers)

    async with peers.attach() as gateway:
        granted = await gateway.acquire(api_key_id=key)
        during = await limit_of(peers, key)
        for _ in range(2):  # a settlement that comes again counts once
            gateway.settled.clear()
            await gateway.settle(completed(granted, at=NOON, api_key_id=key, model="gpt-5.5"))

    assert [amount.amount for amount in granted.reservation.amounts] == [200]
    assert instant(granted, "granted_at") == NOON
    assert (during, await limit_of(peers, key)) == ((0, 200), (120, 0))


async def test_a_restarted_control_counts_what_the_ledger_and_the_gateways_hold(start: OpenControl) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers:
        key = await make_key(peers)
        async with peers.attach() as gateway:
            settled, running = [await gateway.acquire(api_key_id=key) for _ in range(2)]
            end = completed(settled, at=NOON, api_key_id=key, model="gpt-5.5")
            await gateway.settle(end)
        lease = held(running, turn_id="turn-2", granted_at=NOON, api_key_id=key, model="gpt-5.5")

    async with start() as control, open_peers(control.targets[0]) as peers:
        before = await limit_of(peers, key)
        async with peers.attach(held=[lease]) as gateway:
            announced = await eventually(lambda: limit_of(peers, key), lambda use: use != before)
            await gateway.settle(end)  # its acknowledgement was lost with the control that gave it
            await gateway.settle(completed(running, turn_id="turn-2", at=NOON, api_key_id=key, model="gpt-5.5"))
        after = await limit_of(peers, key)

    assert (before, announced, after) == ((120, 0), (120, 200), (240, 0))


async def test_what_a_vanished_gateway_held_counts_as_reserved_until_it_comes_back_with_the_truth(
    peers: Peers, clock: FakeClock
) -> None:
    key = await make_key(peers)
    async with peers.attach() as gateway:
        granted = await gateway.acquire(api_key_id=key)
    clock.advance(11)
    abandoned = await eventually(lambda: limit_of(peers, key), lambda use: use[1] == 0)

    async with peers.attach() as gateway:
        await gateway.settle(completed(granted, at=NOON, api_key_id=key, model="gpt-5.5"))

    assert (abandoned, await limit_of(peers, key)) == ((200, 0), (120, 0))


async def test_a_window_ends_by_itself_and_turns_that_began_in_it_are_not_charged_to_the_next(
    peers: Peers, clock: FakeClock
) -> None:
    key = await make_key(peers)
    clock.advance(DAY_S - 5)
    async with peers.attach() as gateway:
        granted, began = await gateway.acquire(api_key_id=key), clock.now()
        clock.advance(6)
        new_window = await limit_of(peers, key)
        await gateway.settle(completed(granted, at=began, api_key_id=key, model="gpt-5.5"))
        after = await limit_of(peers, key)

    assert (new_window, after) == ((0, 0), (0, 0))


async def test_a_limit_that_is_used_up_is_told_to_gateways_until_it_is_reset(peers: Peers, clock: FakeClock) -> None:
    one = keys_pb.Limit(unit=keys_pb.LIMIT_UNIT_REQUESTS, window=keys_pb.LIMIT_WINDOW_DAY, amount_max=1)
    key = await make_key(peers, one)
    async with peers.attach() as gateway, peers.watch() as watch:
        await watch.next()
        granted = await gateway.acquire(api_key_id=key)
        await gateway.settle(completed(granted, at=NOON, api_key_id=key, model="gpt-5.5"))
        used_up = (await watch.next()).api_keys
        refused = await gateway.refusal(api_key_id=key)
        clock.advance(1)
        await peers.api_keys.ResetApiKeyUsage(keys_pb.ResetApiKeyUsageRequest(name=f"apiKeys/{key}"))
        reset = (await watch.next()).api_keys
        again = await gateway.acquire(api_key_id=key)

    [[reached]] = [key.reached_limits for key in used_up]
    assert (reached.unit, reached.window) == ("requests", "day")
    assert (refused.reason, instant(refused, "resets_at")) == (
        "ERROR_REASON_KEY_LIMIT_REACHED",
        instant(reached, "resets_at"),
    )
    assert refused.message == "API key requests day limit exceeded. Usage resets at 2026-05-05T12:00:00Z."
    assert [list(key.reached_limits) for key in reset] == [[]]
    assert again.lease_id


async def test_a_grant_that_was_lost_on_the_way_gives_its_reservation_back_after_a_while(
    peers: Peers, clock: FakeClock
) -> None:
    key = await make_key(peers)
    async with peers.attach() as gateway:
        await gateway.acquire(api_key_id=key)

    async def a_second_later() -> tuple[int, int]:
        clock.advance(1)
        return await limit_of(peers, key)

    async with peers.attach():  # and says that it holds nothing: its settlement may be under way
        at_once = await limit_of(peers, key)
        later = await eventually(a_second_later, lambda use: use[1] == 0)

    assert (at_once, later) == ((0, 200), (0, 0))


async def test_a_key_that_was_disabled_or_deleted_is_granted_nothing(peers: Peers) -> None:
    key = await make_key(peers)
    await peers.api_keys.DisableApiKey(keys_pb.DisableApiKeyRequest(name=f"apiKeys/{key}"))

    async with peers.attach() as gateway:
        disabled = await gateway.refusal(api_key_id=key)
        unknown = await gateway.refusal(api_key_id="key_9")

    reason = reasons_pb2.ErrorReason.Name(reasons_pb2.ERROR_REASON_KEY_INVALID)
    assert [(refused.reason, refused.message) for refused in (disabled, unknown)] == [(reason, "Invalid API key")] * 2


async def test_limits_made_while_turns_end_miss_none_of_them_and_count_none_twice(peers: Peers) -> None:
    key = await make_key(peers, TOKENS)
    async with peers.attach() as gateway:
        for round_ in range(5):
            granted = await gateway.acquire(api_key_id=key)
            await gateway.call.write(
                pb.AttachRequest(
                    settlements=[completed(granted, turn_id=f"t{round_}", at=NOON, api_key_id=key, model="gpt-5.5")]
                )
            )
            await set_limit(peers, key, 10_000 + round_)
        await gateway.until(lambda: len(gateway.settled) == 5)

    use = await eventually(lambda: limit_of(peers, key), lambda use: use[1] == 0)
    assert use == (600, 0)


async def set_limit(peers: Peers, key: str, amount_max: int) -> None:
    """Takes the key's limit away and gives it a new one, which must count anew."""
    for limits in ([], [keys_pb.Limit(unit=TOKENS.unit, window=TOKENS.window, amount_max=amount_max)]):
        request = keys_pb.UpdateApiKeyRequest(api_key=keys_pb.ApiKey(name=f"apiKeys/{key}", limits=limits))
        request.update_mask.paths.append("limits")
        await peers.api_keys.UpdateApiKey(request)
