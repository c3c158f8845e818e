"""Gateways watching the policy: the snapshot, deltas, and coming back."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from codex_lb.api.admin.v1 import account_service_pb2
from codex_lb.api.worker.v1 import refresh_pb2
from codex_lb.control.settings import ControlSettings
from tests.integration.control.conftest import OpenControl
from tests.integration.control.peers import Peers, open_peers
from tests.support.logins import auth_file


@pytest.fixture
def settings(settings: ControlSettings) -> ControlSettings:
    """With something to tell gateways."""
    return ControlSettings(
        data_dir=settings.data_dir,
        proxy_unauthenticated_client_cidrs=(IPv4Network("10.0.0.0/8"),),
        upstream_stream_transport="http",
    )


async def test_a_gateway_gets_a_snapshot_and_then_only_what_changes(peers: Peers) -> None:
    async with peers.watch() as watch:
        snapshot = await watch.next()
        await peers.import_(auth_file("ann"), auth_file("ben"))
        delta = await watch.next()

    assert snapshot.is_snapshot
    assert list(snapshot.settings.unauthenticated_client_cidrs) == ["10.0.0.0/8"]
    assert snapshot.settings.upstream_stream_transport == "http"
    assert (snapshot.HasField("catalog"), snapshot.pool.accounts) == (True, 0)
    assert (delta.is_snapshot, delta.HasField("settings"), delta.HasField("catalog")) == (False, False, False)
    assert (delta.pool.ready_accounts, delta.pool.accounts) == (2, 2)
    assert delta.version > snapshot.version


async def test_a_gateway_that_comes_back_gets_what_it_missed(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))
    async with peers.watch() as watch:
        held = await watch.next()
    await peers.accounts.PauseAccount(account_service_pb2.PauseAccountRequest(name=account.name))

    async with peers.watch(version=held.version, history_id=held.history_id) as watch:
        missed = await watch.next()

    assert not missed.is_snapshot
    assert (missed.HasField("settings"), missed.pool.ready_accounts) == (False, 0)


async def test_a_gateway_that_missed_nothing_is_told_so_at_once(peers: Peers) -> None:
    async with peers.watch() as watch:
        held = await watch.next()

    async with peers.watch(version=held.version, history_id=held.history_id) as watch:
        nothing = await watch.next()

    assert (nothing.version, nothing.is_snapshot) == (held.version, False)
    assert [part for part in ("settings", "catalog", "pool") if nothing.HasField(part)] == []


async def test_a_version_of_an_earlier_control_is_worth_a_snapshot(start: OpenControl) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers, peers.watch() as watch:
        held = await watch.next()

    async with (
        start() as control,
        open_peers(control.targets[0]) as peers,
        peers.watch(version=held.version, history_id=held.history_id) as watch,
    ):
        assert (await watch.next()).is_snapshot


async def test_what_a_worker_finds_reaches_gateways(peers: Peers) -> None:
    await peers.import_(auth_file("ann"))

    async with peers.watch() as watch:
        await watch.next()
        [ticket] = await peers.claim(refresh_pb2.TICKET_KIND_MODELS)
        found = refresh_pb2.ModelsResult(models=[refresh_pb2.ListedModel(slug="gpt-5.5", entry_json=b'{"x":1}')])
        await peers.worker.ReportTicket(
            refresh_pb2.ReportTicketRequest(ticket_id=ticket.ticket_id, epoch=ticket.epoch, models=found)
        )
        delta = await watch.next()

    [model] = delta.catalog.models
    assert (model.slug, model.entry_json, list(model.plans)) == ("gpt-5.5", b'{"x":1}', ["plus"])
    assert delta.catalog.etag
