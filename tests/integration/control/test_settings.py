"""An operator changes settings while gateways watch."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from codex_lb.api.admin.v1 import settings_service_pb2 as pb
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.kit.rpc_errors import from_rpc_error
from tests.integration.control.conftest import OpenControl
from tests.integration.control.peers import Peers, open_peers


async def test_a_change_holds_at_once_is_told_to_gateways_and_outlives_a_restart(start: OpenControl) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers, peers.watch() as watch:
        await watch.next()
        await _update(peers, pb.Settings(account_stream_limit=5, hide_upstream_quota_from_api_keys=True))
        delta = await watch.next()

    async with start() as control, open_peers(control.targets[0]) as peers:
        found = await peers.settings.GetSettings(pb.GetSettingsRequest())

    assert delta.settings.hide_upstream_quota_from_api_keys
    assert (found.account_stream_limit, found.hide_upstream_quota_from_api_keys) == (5, True)
    assert list(found.changed_fields) == ["account_stream_limit", "hide_upstream_quota_from_api_keys"]


async def test_a_setting_given_back_is_what_the_environment_says(peers: Peers) -> None:
    await _update(peers, pb.Settings(account_stream_limit=5))

    found = await peers.settings.ResetSettings(
        pb.ResetSettingsRequest(reset_mask=FieldMask(paths=["account_stream_limit"]))
    )

    assert (found.account_stream_limit, list(found.changed_fields)) == (2, [])


async def test_a_change_on_top_of_an_outdated_view_is_refused(peers: Peers) -> None:
    seen = await peers.settings.GetSettings(pb.GetSettingsRequest())
    await _update(peers, pb.Settings(account_stream_limit=5))

    assert await _refused(peers, pb.Settings(account_stream_limit=6, etag=seen.etag)) == (
        reasons_pb2.ERROR_REASON_ETAG_MISMATCH
    )


@pytest.mark.parametrize(
    "wanted",
    [
        pb.Settings(routing_strategy=pb.ROUTING_STRATEGY_SINGLE_ACCOUNT),
        pb.Settings(upstream_stream_transport="pigeon"),
        pb.Settings(single_account="ann"),
        pb.Settings(name="other"),
    ],
)
async def test_what_cannot_be_set_is_refused_and_changes_nothing(peers: Peers, wanted: pb.Settings) -> None:
    assert await _refused(peers, wanted) == reasons_pb2.ERROR_REASON_INVALID_ARGUMENT

    found = await peers.settings.GetSettings(pb.GetSettingsRequest())
    assert list(found.changed_fields) == []


async def _update(peers: Peers, wanted: pb.Settings) -> pb.Settings:
    paths = [field.name for field, _ in wanted.ListFields() if field.name != "etag"]
    return await peers.settings.UpdateSettings(
        pb.UpdateSettingsRequest(settings=wanted, update_mask=FieldMask(paths=paths))
    )


async def _refused(peers: Peers, wanted: pb.Settings) -> reasons_pb2.ErrorReason.ValueType:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _update(peers, wanted)
    return from_rpc_error(caught.value).reason
