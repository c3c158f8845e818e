"""What is worth an alert reaches a worker, once, until it is delivered; whatever restarts meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from codex_lb.api.admin.v1 import alert_service_pb2 as pb
from codex_lb.api.admin.v1 import api_key_service_pb2 as keys_pb
from codex_lb.api.admin.v1.alert_service_pb2_grpc import AlertServiceStub
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.api.worker.v1 import refresh_pb2 as work_pb
from codex_lb.control.app import Control, open_control
from codex_lb.control.assembly.timing import Timing
from codex_lb.control.domain.evidence import LoginRejected
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.settings import ControlSettings
from tests.integration.control.peers import Peers, completed, eventually, open_peers, refused
from tests.support.clock import NOON, FakeClock
from tests.support.logins import auth_file

URL = "https://hooks.example.test/services/very-secret"
Start = Callable[[], AbstractAsyncContextManager[Control]]


@pytest.fixture
def start(settings: ControlSettings, clock: FakeClock, tmp_path: Path) -> Start:
    """Starts a control that looks for alerts all the time."""
    timing = Timing(reannounce_grace_s=0.0, tick_s=0.005, alert_period_s=0.005)
    return partial(open_control, settings, clock, listen=[f"unix:{tmp_path / 'control.sock'}"], timing=timing)


async def test_a_login_that_died_is_told_once_and_its_end_is_noted(start: Start, clock: FakeClock) -> None:
    await lose_the_login_of_ann(start)

    async with start() as control, open_peers(control.targets[0]) as peers:
        [ticket] = await eventually(partial(tickets, peers), bool)
        await report(peers, ticket, alert=work_pb.AlertResult(status=200))
        [alert] = await alerts(peers)
        clock.advance(60)
        await peers.import_(auth_file("ann", issued=1))
        [over] = await eventually(partial(alerts, peers), lambda found: found[0].HasField("ended_at"))

    assert (ticket.post.url, json.loads(ticket.post.body)["kind"]) == (URL, "reauth_required")
    assert ticket.post.headers["x-codex-lb-signature"].startswith(f"t={int(NOON.timestamp())},v1=")
    assert (alert.kind, alert.subject.startswith("accounts/")) == (pb.ALERT_KIND_REAUTH_REQUIRED, True)
    assert [(one.stage, one.status, one.tries) for one in alert.deliveries] == [
        (pb.ALERT_DELIVERY_STAGE_DELIVERED, 200, 1)
    ]
    assert over.name == alert.name


async def test_what_was_not_taken_is_tried_again_later_also_by_another_control(start: Start, clock: FakeClock) -> None:
    await lose_the_login_of_ann(start)
    async with start() as control, open_peers(control.targets[0]) as peers:
        [ticket] = await eventually(partial(tickets, peers), bool)
        await report(peers, ticket, failure=work_pb.TicketFailure(code="timeout", message="late", is_transient=True))
        assert await tickets(peers) == []

    async with start() as control, open_peers(control.targets[0]) as peers:
        clock.advance(6)
        [again] = await tickets(peers)
        await report(peers, again, failure=work_pb.TicketFailure(code="http_404", status=404, message="HTTP 404"))
        clock.advance(86_400)
        rest = await tickets(peers)
        [alert] = await alerts(peers)

    assert again.post.url == URL
    assert again.start_after.ToTimedelta().total_seconds() == 4.0
    assert rest == []
    assert [(one.stage, one.tries, one.problem) for one in alert.deliveries] == [
        (pb.ALERT_DELIVERY_STAGE_FAILED, 2, "HTTP 404")
    ]


async def test_a_target_is_tried_out_told_only_what_it_wants_and_removed(start: Start) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers:
        target = await add_target(peers, wants=[pb.ALERT_KIND_POOL_LOW])
        sent = await operator(peers).TestAlertTarget(pb.TestAlertTargetRequest(name=target.name))
        [ticket] = await tickets(peers)
        await operator(peers).DeleteAlertTarget(pb.DeleteAlertTargetRequest(name=target.name))
        left = (await operator(peers).ListAlertTargets(pb.ListAlertTargetsRequest())).targets
        gone = await refused(operator(peers).TestAlertTarget(pb.TestAlertTargetRequest(name=target.name)))

    assert sent.kind == pb.ALERT_KIND_TEST
    assert json.loads(ticket.post.body)["kind"] == "test"
    assert (target.host, list(left)) == ("hooks.example.test", [])
    assert gone.reason == reasons_pb2.ERROR_REASON_ALERT_TARGET_NOT_FOUND
    assert "very-secret" not in str(target)


async def test_what_is_on_its_way_goes_to_where_its_target_is_now(start: Start, clock: FakeClock) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers:
        target = await add_target(peers)
        await operator(peers).TestAlertTarget(pb.TestAlertTargetRequest(name=target.name))
        [first] = await tickets(peers)
        await report(peers, first, failure=work_pb.TicketFailure(code="http_503", message="busy", is_transient=True))

        changed = await change(peers, target, url="https://other.example.test/new-secret")
        clock.advance(11)
        [again] = await tickets(peers)

    assert (first.post.url, again.post.url) == (URL, "https://other.example.test/new-secret")
    assert "x-codex-lb-signature" in again.post.headers  # what was not named stayed
    assert (changed.host, changed.display_name, changed.etag) == ("other.example.test", "ops", "2")
    assert (changed.url, changed.secret, changed.chat_id) == ("", "", "")


async def test_another_control_learns_of_the_change_with_its_next_try(
    start: Start, settings: ControlSettings, clock: FakeClock, tmp_path: Path
) -> None:
    other = open_control(settings, clock, listen=[f"unix:{tmp_path / 'other.sock'}"])
    async with start() as control, open_peers(control.targets[0]) as peers, other as second:
        target = await add_target(peers)
        await operator(peers).TestAlertTarget(pb.TestAlertTargetRequest(name=target.name))
        async with open_peers(second.targets[0]) as beside:
            await change(beside, target, url="https://other.example.test/new-secret")
        [first] = await tickets(peers)
        await report(peers, first, failure=work_pb.TicketFailure(code="http_503", message="busy", is_transient=True))
        clock.advance(11)
        [again] = await tickets(peers)

    assert (first.post.url, again.post.url) == (URL, "https://other.example.test/new-secret")


async def test_a_change_is_whole_or_not_at_all_and_names_what_is_wrong_with_it(start: Start) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers:
        ops, other = await add_target(peers), await add_target(peers, name="other")
        await change(peers, ops, display_name="night shift")
        refusals = {
            "old etag": await refused(change(peers, ops, display_name="late")),
            "taken name": await refused(change(peers, other, display_name="night shift")),
            "no name": await refused(change(peers, other, display_name=" ", url="https://example.test")),
            "no url": await refused(change(peers, other, display_name="new", url="file:///etc/passwd")),
            "form alone": await refused(change(peers, other, kind=pb.ALERT_TARGET_KIND_SLACK)),
            "no form": await refused(change(peers, other, kind=pb.ALERT_TARGET_KIND_UNSPECIFIED)),
            "no chat": await refused(
                change(peers, other, kind=pb.ALERT_TARGET_KIND_TELEGRAM, url="https://api.telegram.org/bot/sendMessage")
            ),
            "no field": await refused(change(peers, other, created_at=None)),
            "nobody": await refused(change(peers, pb.AlertTarget(name="alertTargets/alt_9"), display_name="new")),
        }
        left = (await operator(peers).ListAlertTargets(pb.ListAlertTargetsRequest())).targets

    assert {what: reasons_pb2.ErrorReason.Name(one.reason)[13:] for what, one in refusals.items()} == {
        "old etag": "ETAG_MISMATCH",
        "taken name": "ETAG_MISMATCH",
        "no name": "INVALID_ARGUMENT",
        "no url": "INVALID_ARGUMENT",
        "form alone": "INVALID_ARGUMENT",
        "no form": "INVALID_ARGUMENT",
        "no chat": "INVALID_ARGUMENT",
        "no field": "INVALID_ARGUMENT",
        "nobody": "ALERT_TARGET_NOT_FOUND",
    }
    assert [(one.display_name, one.host, one.etag) for one in left] == [
        ("night shift", "hooks.example.test", "2"),
        ("other", "hooks.example.test", "1"),
    ]


async def test_a_target_that_wants_other_news_is_left_in_peace(start: Start) -> None:
    await lose_the_login_of_ann(start, wants=[pb.ALERT_KIND_POOL_LOW])

    async with start() as control, open_peers(control.targets[0]) as peers:
        [alert] = await eventually(partial(alerts, peers), bool)
        assert await tickets(peers) == []

    assert (alert.kind, list(alert.deliveries)) == (pb.ALERT_KIND_REAUTH_REQUIRED, [])


async def test_a_key_that_nears_its_limit_and_reaches_it_is_told_of(start: Start, clock: FakeClock) -> None:
    tokens = keys_pb.Limit(unit=keys_pb.LIMIT_UNIT_TOTAL_TOKENS, window=keys_pb.LIMIT_WINDOW_DAY, amount_max=150)
    async with start() as control, open_peers(control.targets[0]) as peers:
        await peers.import_(auth_file("ann"))
        await add_target(peers)
        key = keys_pb.ApiKey(display_name="team", limits=[tokens])
        created = (await peers.api_keys.CreateApiKey(keys_pb.CreateApiKeyRequest(api_key=key))).api_key
        key_id = created.name.removeprefix("apiKeys/")

        async with peers.attach() as gateway:
            for told, turn in ((1, "turn-1"), (2, "turn-2")):
                granted = await gateway.acquire(api_key_id=key_id)
                await gateway.settle(completed(granted, turn_id=turn, at=clock.now(), api_key_id=key_id))
                found = await eventually(partial(alerts, peers), lambda alerts, told=told: len(alerts) == told)

    assert [(alert.kind, alert.subject) for alert in found] == [
        (pb.ALERT_KIND_KEY_LIMIT_REACHED, created.name),
        (pb.ALERT_KIND_KEY_LIMIT_NEAR, created.name),
    ]
    assert found[1].title == "API key team has used 80 % of its limit of total_tokens per day"


async def test_the_address_is_sealed_and_what_cannot_be_one_is_refused(start: Start, settings: ControlSettings) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers:
        await add_target(peers)
        taken = await refused(add_target(peers))
        wrong = await refused(add_target(peers, name="other", url="file:///etc/passwd"))

    assert taken.reason == reasons_pb2.ERROR_REASON_ETAG_MISMATCH
    assert wrong.reason == reasons_pb2.ERROR_REASON_INVALID_ARGUMENT
    stored = b"".join(file.read_bytes() for file in settings.data_dir.glob("store.db*"))
    assert b"hooks.example.test" in stored
    assert b"very-secret" not in stored
    assert b"sign-with-this" not in stored


async def lose_the_login_of_ann(start: Start, *, wants: Sequence[pb.AlertKind.ValueType] = ()) -> None:
    """An account that has to sign in again, and a target to be told of it."""
    async with start() as control, open_peers(control.targets[0]) as peers:
        [ann] = await peers.import_(auth_file("ann"))
        await add_target(peers, wants=wants)
        async with control.store.begin(writing=True) as unit:
            account_id = AccountId(ann.name.removeprefix("accounts/"))
            await unit.accounts.append_evidence([(account_id, LoginRejected(1, "invalid_grant", NOON, is_final=True))])


async def add_target(
    peers: Peers, *, name: str = "ops", url: str = URL, wants: Sequence[pb.AlertKind.ValueType] = ()
) -> pb.AlertTarget:
    """A webhook."""
    return await operator(peers).CreateAlertTarget(
        pb.CreateAlertTargetRequest(
            display_name=name, kind=pb.ALERT_TARGET_KIND_WEBHOOK, url=url, secret="sign-with-this", wants=wants
        )
    )


async def change(peers: Peers, target: pb.AlertTarget, **fields: object) -> pb.AlertTarget:
    """The target with these fields as given, and nothing else of it."""
    wanted = pb.AlertTarget(name=target.name, etag=target.etag, **fields)  # type: ignore[arg-type]
    request = pb.UpdateAlertTargetRequest(target=wanted, update_mask=FieldMask(paths=fields))
    return await operator(peers).UpdateAlertTarget(request)


def operator(peers: Peers) -> AlertServiceStub:
    """An operator who wants to be told."""
    return AlertServiceStub(peers.channel)


async def tickets(peers: Peers) -> Sequence[work_pb.Ticket]:
    """What there is to tell."""
    return list(await peers.claim(work_pb.TICKET_KIND_ALERT))


async def alerts(peers: Peers) -> Sequence[pb.Alert]:
    """What was raised."""
    return list((await operator(peers).ListAlerts(pb.ListAlertsRequest())).alerts)


async def report(peers: Peers, ticket: work_pb.Ticket, **result: object) -> None:
    """Ends a ticket."""
    await peers.worker.ReportTicket(
        work_pb.ReportTicketRequest(
            worker_id="worker-1",
            ticket_id=ticket.ticket_id,
            epoch=ticket.epoch,
            **result,  # type: ignore[arg-type]
        )
    )
