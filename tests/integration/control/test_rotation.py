"""Rotation tickets: who gets a refresh token when, and what becomes of what comes back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from codex_lb.api.admin.v1 import account_service_pb2 as accounts_pb
from codex_lb.api.control.v1 import leases_pb2
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.api.worker.v1 import refresh_pb2 as pb
from codex_lb.control.rpcs.instants import wire_instant
from tests.integration.control.conftest import OpenControl
from tests.integration.control.peers import Peers, eventually, held, open_peers, refused
from tests.support.clock import FakeClock
from tests.support.logins import auth_file, id_token

DAY_S = 86_400.0
USAGE, ROTATION = pb.TICKET_KIND_USAGE, pb.TICKET_KIND_ROTATION
ACTIVE, REAUTH = accounts_pb.ACCOUNT_STATUS_ACTIVE, accounts_pb.ACCOUNT_STATUS_REAUTH_REQUIRED


async def test_a_login_is_rotated_at_eight_days_and_again_eight_days_later(peers: Peers, clock: FakeClock) -> None:
    await peers.import_(auth_file("ann"))
    assert await peers.claim(ROTATION) == []

    clock.advance(8 * DAY_S)
    [ticket] = await peers.claim(ROTATION)
    await _rotated(peers, ticket)

    assert await peers.claim(ROTATION) == []
    clock.advance(8 * DAY_S)
    [again] = await peers.claim(ROTATION)
    assert (again.credential.refresh_token, again.credential.generation) == ("rt_new_1", 2)


async def test_a_rotation_ticket_holds_the_refresh_token_and_no_other_does(peers: Peers, clock: FakeClock) -> None:
    await peers.import_(auth_file("ann"))
    clock.advance(8 * DAY_S)

    [rotation] = await peers.claim(ROTATION)
    [usage] = await peers.claim(USAGE)

    assert rotation.credential == pb.TicketCredential(refresh_token="rt_ann_0", generation=1)
    assert usage.credential.refresh_token == ""


async def test_a_paused_account_is_rotated_too(peers: Peers, clock: FakeClock) -> None:
    [account] = await peers.import_(auth_file("ann"))
    await peers.accounts.PauseAccount(accounts_pb.PauseAccountRequest(name=account.name))

    clock.advance(8 * DAY_S)

    assert len(await peers.claim(ROTATION)) == 1


async def test_a_401_of_usage_is_healed_by_a_rotation_at_once(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))
    await _rejected(peers)
    assert (await _account(peers, account)).status == REAUTH

    [ticket] = await peers.claim(ROTATION)
    await _rotated(peers, ticket)

    assert (await _account(peers, account)).status == ACTIVE
    [usage] = await peers.claim(USAGE)
    assert (usage.credential.access_token, usage.credential.generation) == ("access_1", 2)


async def test_a_401_of_a_turn_is_healed_by_a_rotation_and_the_next_turn_has_the_new_token(
    peers: Peers, clock: FakeClock
) -> None:
    [account] = await peers.import_(auth_file("ann"))
    async with peers.attach() as gateway:
        await gateway.heartbeat(clock.now())
        granted = await gateway.acquire()
        rejected = leases_pb2.Settlement(
            lease=held(granted, granted_at=clock.now()),
            outcome=leases_pb2.OUTCOME_REJECTED,
            fault=leases_pb2.Fault(code="token_expired", blame=leases_pb2.BLAME_ACCOUNT, status=401),
            ended_at=wire_instant(clock.now()),
        )
        await gateway.settle(rejected)
        assert (await _account(peers, account)).status == REAUTH

        [ticket] = await peers.claim(ROTATION)
        await _rotated(peers, ticket)

        assert (await gateway.acquire()).access_token == "access_1"


async def test_a_rejected_login_is_healed_once_and_then_ever_more_rarely(peers: Peers, clock: FakeClock) -> None:
    await peers.import_(auth_file("ann"))
    await _rejected(peers)
    [first] = await peers.claim(ROTATION)
    await _rotated(peers, first)
    await _rejected(peers, generation=2)

    assert await peers.claim(ROTATION) == []
    clock.advance(60)
    assert len(await peers.claim(ROTATION)) == 1


async def test_exchanges_are_few_at_once_and_start_apart(peers: Peers, clock: FakeClock) -> None:
    await peers.import_(*(auth_file(f"user-{n}") for n in range(10)))
    clock.advance(8 * DAY_S)

    tickets = await peers.claim(ROTATION)

    assert [t.start_after.ToMilliseconds() for t in tickets] == [0, 250, 500, 750]
    assert await peers.claim(ROTATION) == []
    await _rotated(peers, tickets[0])
    assert len(await peers.claim(ROTATION)) == 1


async def test_an_exchange_is_in_the_journal_before_its_refresh_token_leaves(
    peers: Peers, clock: FakeClock, tmp_path: Path
) -> None:
    await peers.import_(auth_file("ann"))
    clock.advance(8 * DAY_S)

    [ticket] = await peers.claim(ROTATION)
    begun = _journal(tmp_path)
    await _rotated(peers, ticket)

    assert begun == [(ticket.ticket_id, 1, None)]
    assert _journal(tmp_path) == [(ticket.ticket_id, 1, "rotated")]


async def test_a_pair_that_comes_after_its_ticket_lapsed_is_taken(peers: Peers, clock: FakeClock) -> None:
    [account] = await peers.import_(auth_file("ann"))
    clock.advance(8 * DAY_S)
    [ticket] = await peers.claim(ROTATION)

    clock.advance(600)
    assert await peers.claim(ROTATION) == []
    await _rotated(peers, ticket)

    assert (await _account(peers, account)).etag.startswith("2-")


async def test_a_pair_that_outlived_a_restart_of_control_is_taken(start: OpenControl, clock: FakeClock) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers:
        [account] = await peers.import_(auth_file("ann"))
        clock.advance(8 * DAY_S)
        [ticket] = await peers.claim(ROTATION)

    async with start() as control, open_peers(control.targets[0]) as peers:
        assert await peers.claim(ROTATION) == []
        await _rotated(peers, ticket)
        assert (await _account(peers, account)).etag.startswith("2-")

    async with start() as control, open_peers(control.targets[0]) as peers:
        clock.advance(8 * DAY_S)
        [again] = await peers.claim(ROTATION)
        assert again.credential.refresh_token == "rt_new_1"


async def test_a_pair_reported_twice_is_taken_once(peers: Peers, clock: FakeClock) -> None:
    [account] = await peers.import_(auth_file("ann"))
    clock.advance(8 * DAY_S)
    [ticket] = await peers.claim(ROTATION)

    await _rotated(peers, ticket)
    await _rotated(peers, ticket)

    assert (await _account(peers, account)).etag.startswith("2-")


async def test_once_a_newer_ticket_is_out_the_older_pair_is_refused(peers: Peers, clock: FakeClock) -> None:
    await peers.import_(auth_file("ann"))
    await _rejected(peers)
    [first] = await peers.claim(ROTATION)
    clock.advance(900)
    [second] = await peers.claim(ROTATION)

    failure = await refused(_rotated(peers, first))
    await _rotated(peers, second)

    assert failure.reason == reasons_pb2.ERROR_REASON_STALE_EPOCH


async def test_an_exchange_nobody_heard_of_is_not_repeated_while_the_access_token_is_good(
    peers: Peers, clock: FakeClock
) -> None:
    [account] = await peers.import_(auth_file("ann"))
    clock.advance(8 * DAY_S)
    await peers.claim(ROTATION)

    clock.advance(30 * DAY_S)

    assert await peers.claim(ROTATION) == []
    assert (await _account(peers, account)).status == ACTIVE


@pytest.mark.parametrize("code", ["refresh_token_reused", "invalid_grant", "app_session_terminated"])
async def test_a_login_the_issuer_will_not_renew_needs_a_new_one_and_is_left_alone(
    peers: Peers, clock: FakeClock, code: str
) -> None:
    [account] = await peers.import_(auth_file("ann"))
    clock.advance(8 * DAY_S)
    [ticket] = await peers.claim(ROTATION)

    await _failed(peers, ticket, code=code, status=401)
    shown = await _account(peers, account)
    clock.advance(30 * DAY_S)

    assert (shown.status, shown.status_reason) == (REAUTH, code)
    assert await peers.claim(ROTATION) == []


async def test_a_late_401_does_not_reopen_what_the_issuer_has_ended(peers: Peers, clock: FakeClock) -> None:
    [account] = await peers.import_(auth_file("ann"))
    [usage] = await peers.claim(USAGE)
    clock.advance(8 * DAY_S)
    [usage] = await peers.claim(USAGE)
    [ticket] = await peers.claim(ROTATION)
    await _failed(peers, ticket, code="invalid_grant", status=400)
    clock.advance(10)

    await _failed(peers, usage, code="token_expired", status=401)

    assert (await _account(peers, account)).status_reason == "invalid_grant"
    assert await peers.claim(ROTATION) == []


async def test_a_closed_account_is_deactivated(peers: Peers, clock: FakeClock) -> None:
    [account] = await peers.import_(auth_file("ann"))
    clock.advance(8 * DAY_S)
    [ticket] = await peers.claim(ROTATION)

    await _failed(peers, ticket, code="account_suspended", status=403)

    assert (await _account(peers, account)).status == accounts_pb.ACCOUNT_STATUS_DEACTIVATED


async def test_a_refusal_of_a_login_that_was_replaced_meanwhile_is_ignored(peers: Peers, clock: FakeClock) -> None:
    [account] = await peers.import_(auth_file("ann"))
    clock.advance(8 * DAY_S)
    [ticket] = await peers.claim(ROTATION)
    await peers.import_(auth_file("ann", issued=1))

    await _failed(peers, ticket, code="refresh_token_reused", status=401)
    late = await refused(_rotated(peers, ticket))

    assert (await _account(peers, account)).status == ACTIVE
    assert late.reason == reasons_pb2.ERROR_REASON_STALE_EPOCH


async def test_a_passing_failure_is_tried_again_after_a_pause(peers: Peers, clock: FakeClock) -> None:
    [account] = await peers.import_(auth_file("ann"))
    clock.advance(8 * DAY_S)
    [ticket] = await peers.claim(ROTATION)

    await _failed(peers, ticket, code="http_503", status=503)

    assert await peers.claim(ROTATION) == []
    assert (await _account(peers, account)).status == ACTIVE
    clock.advance(30)
    assert len(await peers.claim(ROTATION)) == 1


async def test_the_new_pair_is_sealed_in_the_database(peers: Peers, clock: FakeClock, tmp_path: Path) -> None:
    await peers.import_(auth_file("ann"))
    clock.advance(8 * DAY_S)
    [ticket] = await peers.claim(ROTATION)
    await _rotated(peers, ticket)

    stored = _stored(tmp_path)

    assert b"access_1" not in stored
    assert b"rt_new_1" not in stored


async def _account(peers: Peers, account: accounts_pb.Account) -> accounts_pb.Account:
    return await peers.accounts.GetAccount(accounts_pb.GetAccountRequest(name=account.name))


async def _rejected(peers: Peers, *, generation: int = 1) -> None:
    """Upstream rejects the account's access token."""
    [usage] = await eventually(lambda: peers.claim(USAGE), bool)
    assert usage.credential.generation == generation
    await _failed(peers, usage, code="token_expired", status=401)


async def _rotated(peers: Peers, ticket: pb.Ticket) -> None:
    number = ticket.credential.generation
    pair = pb.RotationResult(
        access_token=f"access_{number}", refresh_token=f"rt_new_{number}", id_token=id_token("ann")
    )
    await _report(peers, ticket, rotation=pair)


async def _failed(peers: Peers, ticket: pb.Ticket, *, code: str, status: int) -> None:
    generation = ticket.credential.generation
    await _report(peers, ticket, failure=pb.TicketFailure(code=code, status=status, credential_generation=generation))


async def _report(
    peers: Peers,
    ticket: pb.Ticket,
    *,
    rotation: pb.RotationResult | None = None,
    failure: pb.TicketFailure | None = None,
) -> None:
    request = pb.ReportTicketRequest(
        worker_id="worker-1",
        ticket_id=ticket.ticket_id,
        epoch=ticket.epoch,
        rotation=rotation,
        failure=failure,
        age=Duration(),
    )
    await peers.worker.ReportTicket(request)


def _journal(folder: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{folder / 'store.db'}?mode=ro", uri=True)) as connection:
        return connection.execute("select ticket_id, generation, outcome from exchanges").fetchall()


def _stored(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("store.db*"))
