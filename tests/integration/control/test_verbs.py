"""What an operator decides about accounts, and what is done at once when an operator asks."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.field_mask_pb2 import FieldMask

from codex_lb.api.admin.v1 import account_service_pb2 as pb
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.api.worker.v1 import refresh_pb2
from codex_lb.control.app import open_control
from codex_lb.control.settings import ControlSettings
from tests.integration.control.conftest import OpenControl
from tests.integration.control.peers import Peers, open_peers, refused
from tests.support.clock import FakeClock
from tests.support.logins import auth_file

USAGE, MODELS, ROTATION = (
    refresh_pb2.TICKET_KIND_USAGE,
    refresh_pb2.TICKET_KIND_MODELS,
    refresh_pb2.TICKET_KIND_ROTATION,
)


async def test_what_an_operator_decides_is_kept_over_a_restart(start: OpenControl) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers:
        [account] = await peers.import_(auth_file("ann"))
        wanted = pb.Account(
            name=account.name,
            alias="spare",
            routing_policy=pb.ROUTING_POLICY_PRESERVE,
            priority=-3,
            stop_percent=80.5,
        )
        await _update(peers, wanted, "alias", "routing_policy", "priority", "stop_percent")

    async with start() as control, open_peers(control.targets[0]) as peers:
        [shown] = (await peers.accounts.ListAccounts(pb.ListAccountsRequest())).accounts

    assert (shown.alias, shown.routing_policy, shown.priority, shown.stop_percent) == (
        "spare",
        pb.ROUTING_POLICY_PRESERVE,
        -3,
        80.5,
    )


async def test_only_what_the_mask_names_is_changed_and_what_is_not_set_is_cleared(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))
    await _update(peers, pb.Account(name=account.name, alias="a", stop_percent=50), "alias", "stop_percent")

    shown = await _update(peers, pb.Account(name=account.name, priority=9), "stop_percent")

    assert (shown.alias, shown.priority, shown.HasField("stop_percent")) == ("a", 0, False)


async def test_what_cannot_be_changed_or_is_out_of_range_is_refused_by_name(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))

    messages = [
        (await refused(_update(peers, pb.Account(name=account.name, **given), path))).message
        for path, given in [
            ("email", {}),
            ("priority", {"priority": 101}),
            ("stop_percent", {"stop_percent": 0.0}),
            ("stop_percent", {"stop_percent": float("nan")}),
            ("routing_policy", {"routing_policy": 99}),
            ("alias", {"alias": "two\nlines"}),
        ]
    ]

    assert messages == [
        "update_mask: email is no field that can be changed.",
        "account.priority is out of range.",
        "account.stop_percent is out of range.",
        "account.stop_percent is out of range.",
        "account.routing_policy is out of range.",
        "account.alias must be at most 100 printable characters.",
    ]


async def test_an_account_that_somebody_else_changed_is_not_overwritten(peers: Peers, clock: FakeClock) -> None:
    [account] = await peers.import_(auth_file("ann"))
    clock.advance(1)
    await _update(peers, pb.Account(name=account.name, etag=account.etag, alias="first"), "alias")

    failure = await refused(_update(peers, pb.Account(name=account.name, etag=account.etag, alias="second"), "alias"))

    assert failure.reason == reasons_pb2.ERROR_REASON_ETAG_MISMATCH


async def test_a_preferred_account_serves_until_its_threshold_and_then_the_next_one(
    peers: Peers, clock: FakeClock
) -> None:
    [ann, ben] = await peers.import_(auth_file("ann"), auth_file("ben"))
    await _update(peers, pb.Account(name=ann.name, priority=1, stop_percent=90), "priority", "stop_percent")

    async with peers.attach() as gateway:
        first = [(await gateway.acquire()).account_id for _ in range(2)]
        await _usage(peers, ann, used_percent=90.0)
        then = await gateway.acquire()

    assert {f"accounts/{account_id}" for account_id in first} == {ann.name}
    assert f"accounts/{then.account_id}" == ben.name
    assert [p.reason for p in then.decision.passed_over] == ["stop_threshold"]


async def test_refresh_now_makes_usage_due_and_if_asked_the_tokens(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))
    await _usage(peers, account, used_percent=1.0)
    assert await peers.claim(USAGE, ROTATION) == []

    await peers.accounts.RefreshAccount(pb.RefreshAccountRequest(name=account.name))
    usage = await peers.claim(USAGE, ROTATION)
    await peers.accounts.RefreshAccount(pb.RefreshAccountRequest(name=account.name, rotate_tokens=True))
    both = await peers.claim(USAGE, ROTATION)

    assert [t.kind for t in usage] == [USAGE]
    assert sorted(t.kind for t in both) == [USAGE, ROTATION]


async def test_a_paused_account_can_be_rotated_now_but_its_usage_not_fetched(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))
    await peers.accounts.PauseAccount(pb.PauseAccountRequest(name=account.name))

    failure = await refused(peers.accounts.RefreshAccount(pb.RefreshAccountRequest(name=account.name)))
    await peers.accounts.RefreshAccount(pb.RefreshAccountRequest(name=account.name, rotate_tokens=True))

    assert failure.message == "The account is paused; its usage is not fetched. Resume it."
    assert [t.kind for t in await peers.claim(USAGE, ROTATION)] == [ROTATION]


async def test_sync_models_now_makes_every_plan_due(peers: Peers) -> None:
    await peers.import_(auth_file("ann"), auth_file("eve", plan="pro"))
    for ticket in await peers.claim(MODELS):
        listed = refresh_pb2.ModelsResult(models=[refresh_pb2.ListedModel(slug="m", entry_json=b"{}")])
        await _report(peers, ticket, models=listed)
    assert await peers.claim(MODELS) == []

    answer = await peers.accounts.SyncModels(pb.SyncModelsRequest())

    assert list(answer.plans) == ["plus", "pro"]
    assert len(await peers.claim(MODELS)) == 2


async def test_what_a_setting_switches_off_is_not_promised(tmp_path: Path, clock: FakeClock) -> None:
    settings = ControlSettings(data_dir=tmp_path, usage_refresh_enabled=False, model_registry_enabled=False)
    listen = [f"unix:{tmp_path}/control.sock"]
    async with open_control(settings, clock, listen=listen) as control, open_peers(control.targets[0]) as peers:
        [account] = await peers.import_(auth_file("ann"))

        usage = await refused(peers.accounts.RefreshAccount(pb.RefreshAccountRequest(name=account.name)))
        models = await refused(peers.accounts.SyncModels(pb.SyncModelsRequest()))

    assert usage.message == "Fetching usage is switched off: CODEX_LB_USAGE_REFRESH_ENABLED is false."
    assert models.message == "Listing models is switched off: CODEX_LB_MODEL_REGISTRY_ENABLED is false."


async def _update(peers: Peers, wanted: pb.Account, *paths: str) -> pb.Account:
    request = pb.UpdateAccountRequest(account=wanted, update_mask=FieldMask(paths=paths))
    return await peers.accounts.UpdateAccount(request)


async def _usage(peers: Peers, account: pb.Account, *, used_percent: float) -> None:
    """A worker sees the account's 5 h window."""
    tickets = {f"accounts/{ticket.account_id}": ticket for ticket in await peers.claim(USAGE)}
    window = refresh_pb2.UsageWindow(window="primary", used_percent=used_percent)
    window.length.FromSeconds(18_000)
    await _report(peers, tickets[account.name], usage=refresh_pb2.UsageResult(plan="plus", windows=[window]))


async def _report(
    peers: Peers,
    ticket: refresh_pb2.Ticket,
    *,
    usage: refresh_pb2.UsageResult | None = None,
    models: refresh_pb2.ModelsResult | None = None,
) -> None:
    request = refresh_pb2.ReportTicketRequest(
        worker_id="worker-1", ticket_id=ticket.ticket_id, epoch=ticket.epoch, usage=usage, models=models
    )
    await peers.worker.ReportTicket(request)
