"""Gateways on their streams: grants, settlements, hang-ups, silences and restarts."""

from __future__ import annotations

import sqlite3
from contextlib import AsyncExitStack, closing

from codex_lb.api.admin.v1 import account_service_pb2
from codex_lb.api.control.v1 import leases_pb2 as pb
from codex_lb.api.control.v1 import leases_pb2_grpc
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.control.app import Control
from codex_lb.control.domain.ids import AccountId, TurnId
from codex_lb.control.domain.lease import Outcome, Settlement
from codex_lb.control.settings import ControlSettings
from tests.integration.control.conftest import OpenControl
from tests.integration.control.peers import Peers, completed, eventually, held, open_peers, refused
from tests.support.clock import NOON, FakeClock
from tests.support.logins import access_token, auth_file

LONG_S = 60.0  # stands for "as long as it takes"


async def test_a_lease_is_granted_used_and_settled_and_the_settlement_is_committed_before_it_is_acknowledged(
    control: Control, peers: Peers
) -> None:
    await peers.import_(auth_file("ann"))

    async with peers.attach() as gateway:
        granted = await gateway.acquire()
        assert (granted.access_token, granted.chatgpt_account_id) == (access_token("ann"), "ws-1")
        await gateway.settle(completed(granted, turn_id=granted_turn(granted), at=NOON))
        [attempt] = await _attempts(control, granted_turn(granted))

    assert (attempt.lease.lease_id, attempt.outcome) == (granted.lease_id, Outcome.COMPLETED)
    assert attempt.usage is not None
    assert attempt.usage.total_tokens == 120
    assert control.leases.held() == 0


async def test_a_settlement_repeated_is_acknowledged_again_and_recorded_once(control: Control, peers: Peers) -> None:
    await peers.import_(auth_file("ann"))

    async with peers.attach() as gateway:
        granted = await gateway.acquire()
        for _ in range(2):
            gateway.settled.clear()
            await gateway.settle(completed(granted, turn_id=granted_turn(granted), at=NOON))

    assert len(await _attempts(control, granted_turn(granted))) == 1


async def test_a_gateway_that_hangs_up_keeps_its_leases_and_finds_them_when_it_attaches_anew(
    control: Control, peers: Peers
) -> None:
    await peers.import_(auth_file("ann"))
    async with peers.attach() as gateway:
        kept, lost = await gateway.acquire(), await gateway.acquire()

    assert control.leases.held() == 2
    async with peers.attach(held=[held(kept, granted_at=NOON)]) as gateway:
        third = await gateway.acquire()
        refusal = await gateway.refusal()

    assert lost.lease_id != third.lease_id
    assert refusal.reason == "ERROR_REASON_POOL_BUSY"


async def test_a_restarted_control_learns_from_gateways_what_is_running(start: OpenControl) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers:
        await peers.import_(auth_file("ann"))
        async with peers.attach() as gateway:
            assert gateway.welcome is not None
            first_term = gateway.welcome.term
            running = [await gateway.acquire(), await gateway.acquire()]

    async with start() as control, open_peers(control.targets[0]) as peers:
        announced = [held(granted, granted_at=NOON) for granted in running]
        async with peers.attach(held=announced) as gateway:
            refusal = await gateway.refusal()
            await gateway.settle(completed(running[0], at=NOON))
            after = await gateway.acquire()
            assert gateway.welcome is not None
            assert gateway.welcome.term == first_term + 1

    assert refusal.reason == "ERROR_REASON_POOL_BUSY"
    assert after.epoch > max(granted.epoch for granted in running)


async def test_what_a_vanished_gateway_held_is_abandoned_after_the_ttl_and_the_truth_replaces_that(
    control: Control, peers: Peers, clock: FakeClock
) -> None:
    await peers.import_(auth_file("ann"))
    async with peers.attach() as gateway:
        granted = await gateway.acquire()

    clock.advance(10)
    [abandoned] = await eventually(lambda: _attempts(control, granted_turn(granted)), bool)
    async with peers.attach() as gateway:
        await gateway.settle(completed(granted, turn_id=granted_turn(granted), at=NOON))

    assert (abandoned.outcome, abandoned.fault and abandoned.fault.code) == (Outcome.ABANDONED, "gateway_vanished")
    assert [a.outcome for a in await _attempts(control, granted_turn(granted))] == [Outcome.COMPLETED]
    assert control.leases.in_use(AccountId(granted.account_id)) == 0


async def test_a_gateway_heard_again_after_it_was_given_up_must_attach_anew(
    control: Control, peers: Peers, clock: FakeClock
) -> None:
    await peers.import_(auth_file("ann"))

    async with peers.attach() as gateway:
        granted = await gateway.acquire()
        clock.advance(11)
        await eventually(peers.status, lambda status: status.leases == 0)
        await gateway.heartbeat(clock.now())
        await gateway.end()
    async with peers.attach(held=[held(granted, granted_at=NOON)]):
        assert control.leases.held() == 1


async def test_a_gateway_given_up_must_attach_anew_though_its_waiting_turn_got_a_slot_of_those_it_lost(
    control: Control, peers: Peers, clock: FakeClock
) -> None:
    await peers.import_(auth_file("ann"))

    async with peers.attach() as gateway:
        running = [await gateway.acquire(), await gateway.acquire()]
        waiting = await gateway.ask(wait_max_s=LONG_S)
        clock.advance(10)
        await gateway.until(lambda: waiting in gateway.granted)
        await gateway.heartbeat(clock.now())
        await gateway.end()
    announced = [held(granted, granted_at=NOON) for granted in [*running, gateway.granted[waiting]]]
    async with peers.attach(held=announced):
        await eventually(peers.status, lambda _: control.leases.held() == 3)


async def test_a_turn_waits_for_the_slot_that_another_gateway_frees(peers: Peers) -> None:
    await peers.import_(auth_file("ann"))

    async with peers.attach("gateway-1") as one, peers.attach("gateway-2") as other:
        first, _ = await one.acquire(), await one.acquire()
        waiting = await other.ask(wait_max_s=LONG_S)
        await one.settle(completed(first, at=NOON))
        await other.until(lambda: waiting in other.granted)


async def test_a_withdrawn_acquire_takes_no_slot(control: Control, peers: Peers) -> None:
    await peers.import_(auth_file("ann"))

    async with peers.attach() as gateway:
        first, second = await gateway.acquire(), await gateway.acquire()
        waiting = await gateway.ask(wait_max_s=LONG_S)
        await gateway.call.write(pb.AttachRequest(withdrawals=[waiting]))
        await gateway.settle(completed(first, at=NOON), completed(second, turn_id="turn-2", at=NOON))

    assert (control.leases.held(), waiting in gateway.granted) == (0, False)


async def test_an_account_that_refused_a_turn_is_passed_over_by_the_next(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))

    async with peers.attach() as gateway:
        granted = await gateway.acquire()
        limited = completed(granted, at=NOON)
        limited.outcome = pb.OUTCOME_LIMITED
        limited.fault.CopyFrom(pb.Fault(code="usage_limit_reached", blame=pb.BLAME_ACCOUNT, status=429))
        await gateway.settle(limited)
        refusal = await gateway.refusal()
    shown = await peers.accounts.GetAccount(account_service_pb2.GetAccountRequest(name=account.name))

    assert refusal.reason == "ERROR_REASON_POOL_EXHAUSTED"
    assert shown.status == account_service_pb2.ACCOUNT_STATUS_RATE_LIMITED


async def test_a_gateway_of_another_protocol_is_told_so(peers: Peers) -> None:
    call = leases_pb2_grpc.GatewayServiceStub(peers.channel).Attach()
    await call.write(pb.AttachRequest(hello=pb.Hello(replica_id="g", protocol=99)))

    failure = await refused(call.read())

    assert failure.reason == reasons_pb2.ERROR_REASON_PROTOCOL_MISMATCH


async def test_while_the_database_is_locked_leases_go_on_and_settlements_wait(
    control: Control, peers: Peers, settings: ControlSettings
) -> None:
    [account] = await peers.import_(auth_file("ann"))

    async with peers.attach() as gateway:
        granted = await gateway.acquire()
        with closing(sqlite3.connect(settings.data_dir / "store.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            await gateway.call.write(pb.AttachRequest(settlements=[completed(granted, at=NOON)]))
            second = await gateway.acquire()
            failure = await refused(
                peers.accounts.PauseAccount(account_service_pb2.PauseAccountRequest(name=account.name), timeout=30)
            )
            waiting = (await peers.status()).settlements_waiting
            other.execute("ROLLBACK")
        await gateway.until(lambda: granted.lease_id in gateway.settled)

    assert second.lease_id != granted.lease_id
    assert failure.reason == reasons_pb2.ERROR_REASON_STORE_UNAVAILABLE
    assert waiting


async def test_a_control_that_stops_ends_its_streams_itself(start: OpenControl) -> None:
    async with AsyncExitStack() as running:
        control = await running.enter_async_context(start())
        async with open_peers(control.targets[0]) as peers, peers.attach() as gateway, peers.watch() as watch:
            await watch.next()

            await running.aclose()

            await gateway.end()
            await watch.end()


def granted_turn(granted: pb.Granted) -> str:
    """The turn of a lease that the helper asked for."""
    return f"turn-{granted.acquire_id}"


async def _attempts(control: Control, turn_id: str) -> list[Settlement]:
    async with control.store.begin(writing=False) as unit:
        return await unit.turns.attempts(TurnId(turn_id))
