"""API keys over the admin API: shown once, changed by field, told to gateways as they change."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from codex_lb.api.admin.v1 import api_key_service_pb2 as pb
from codex_lb.api.control.v1 import policy_pb2
from codex_lb.api.errors.v1 import reasons_pb2 as reasons
from codex_lb.control.rpcs.instants import wire_instant, wire_seconds
from tests.integration.control.conftest import OpenControl
from tests.integration.control.peers import Peers, open_peers, refused
from tests.support.clock import NOON, FakeClock

LIMITS = [
    pb.Limit(unit=pb.LIMIT_UNIT_COST_USD, window=pb.LIMIT_WINDOW_MONTH, amount_max=5_000_000),
    pb.Limit(unit=pb.LIMIT_UNIT_REQUESTS, window=pb.LIMIT_WINDOW_FIVE_HOURS, amount_max=10, model="gpt-5.5"),
]


async def create(peers: Peers, name: str = "ci", **fields: object) -> pb.CreateApiKeyResponse:
    key = pb.ApiKey(display_name=name, **fields)  # type: ignore[arg-type]
    return await peers.api_keys.CreateApiKey(pb.CreateApiKeyRequest(api_key=key))


async def update(peers: Peers, key: pb.ApiKey, *paths: str) -> pb.ApiKey:
    request = pb.UpdateApiKeyRequest(api_key=key, update_mask=FieldMask(paths=paths))
    return await peers.api_keys.UpdateApiKey(request)


async def listed(peers: Peers) -> list[pb.ApiKey]:
    return list((await peers.api_keys.ListApiKeys(pb.ListApiKeysRequest())).api_keys)


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


async def test_a_key_is_shown_once_and_only_its_digest_is_kept(peers: Peers, tmp_path: Path) -> None:
    made = await create(peers)

    assert made.secret.startswith("sk-clb-")
    assert len(made.secret) == 50
    assert made.api_key.key_prefix == made.secret[:15]
    assert made.secret not in str(await listed(peers))
    with closing(sqlite3.connect(tmp_path / "store.db")) as database:
        assert made.secret not in "\n".join(database.iterdump())
        assert database.execute("SELECT digest FROM api_keys").fetchall() == [(digest(made.secret),)]


async def test_everything_about_a_key_survives_a_restart(start: OpenControl) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers:
        made = await create(
            peers,
            expires_at=wire_instant(NOON + timedelta(days=30)),
            allowed_models=["gpt-5.5", "gpt-5.4"],
            enforced_service_tier="flex",
            allowed_reasoning_efforts=["low", "high"],
            account_scope=pb.AccountScope(accounts=["accounts/acc_1"]),
            streams_max=3,
            usage_sections=[pb.USAGE_SECTION_ACCOUNT_POOL_USAGE],
            limits=LIMITS,
        )

    async with start() as control, open_peers(control.targets[0]) as peers:
        assert await listed(peers) == [made.api_key]


async def test_only_the_fields_of_the_mask_change_and_the_etag_guards_them(peers: Peers) -> None:
    made = (await create(peers, allowed_models=["gpt-5.5"])).api_key

    changed = await update(peers, pb.ApiKey(name=made.name, display_name="other", etag=made.etag), "display_name")
    stale = await refused(update(peers, pb.ApiKey(name=made.name, display_name="lost", etag=made.etag), "display_name"))
    unknown = await refused(update(peers, pb.ApiKey(name=made.name), "secret"))

    assert (changed.display_name, list(changed.allowed_models)) == ("other", ["gpt-5.5"])
    assert stale.reason == reasons.ERROR_REASON_ETAG_MISMATCH
    assert (unknown.reason, unknown.message) == (
        reasons.ERROR_REASON_INVALID_ARGUMENT,
        "update_mask: secret is no field that can be changed.",
    )
    assert [key.display_name for key in await listed(peers)] == ["other"]


async def test_a_scope_without_accounts_is_another_thing_than_no_scope(peers: Peers) -> None:
    made = (await create(peers, account_scope=pb.AccountScope())).api_key

    freed = await update(peers, pb.ApiKey(name=made.name), "account_scope")

    assert made.HasField("account_scope")
    assert not freed.HasField("account_scope")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (pb.ApiKey(), "display_name"),
        (pb.ApiKey(display_name="x", limits=[pb.Limit(amount_max=1)]), "needs a unit and a window"),
        (pb.ApiKey(display_name="x", account_scope=pb.AccountScope(accounts=["acc_1"])), "accounts/{account_id}"),
        (pb.ApiKey(display_name="x", limits=[*LIMITS, LIMITS[0]]), "at most one limit"),
    ],
)
async def test_a_key_that_makes_no_sense_is_not_made(peers: Peers, key: pb.ApiKey, said: str) -> None:
    failure = await refused(peers.api_keys.CreateApiKey(pb.CreateApiKeyRequest(api_key=key)))

    assert failure.reason == reasons.ERROR_REASON_INVALID_ARGUMENT
    assert said in failure.message
    assert await listed(peers) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("apiKeys/key_9", reasons.ERROR_REASON_API_KEY_NOT_FOUND),
        ("accounts/acc_1", reasons.ERROR_REASON_INVALID_ARGUMENT),
        ("", reasons.ERROR_REASON_INVALID_ARGUMENT),
    ],
)
async def test_a_key_that_is_not_there_is_said_so_by_every_verb(
    peers: Peers, name: str, reason: reasons.ErrorReason.ValueType
) -> None:
    verbs = peers.api_keys
    for call in (
        verbs.GetApiKey(pb.GetApiKeyRequest(name=name)),
        verbs.UpdateApiKey(pb.UpdateApiKeyRequest(api_key=pb.ApiKey(name=name))),
        verbs.RotateApiKey(pb.RotateApiKeyRequest(name=name)),
        verbs.EnableApiKey(pb.EnableApiKeyRequest(name=name)),
        verbs.DisableApiKey(pb.DisableApiKeyRequest(name=name)),
        verbs.ResetApiKeyUsage(pb.ResetApiKeyUsageRequest(name=name)),
        verbs.DeleteApiKey(pb.DeleteApiKeyRequest(name=name)),
    ):
        assert (await refused(call)).reason == reason


async def test_keys_come_in_pages_the_oldest_first(peers: Peers, clock: FakeClock) -> None:
    for name in "abc":
        await create(peers, name)
        clock.advance(1)

    first = await peers.api_keys.ListApiKeys(pb.ListApiKeysRequest(page_size=2))
    second = await peers.api_keys.ListApiKeys(pb.ListApiKeysRequest(page_size=2, page_token=first.next_page_token))

    assert [key.display_name for key in first.api_keys] == ["a", "b"]
    assert ([key.display_name for key in second.api_keys], second.next_page_token, second.total_size) == (["c"], "", 3)


async def test_gateways_get_the_keys_there_are_and_then_each_change_alone(peers: Peers, clock: FakeClock) -> None:
    kept = await create(peers, "kept")
    async with peers.watch() as watch:
        snapshot = await watch.next()
        made = await create(peers, "ci", allowed_models=["gpt-5.5"])
        created = await watch.next()
        rotated = await peers.api_keys.RotateApiKey(
            pb.RotateApiKeyRequest(name=made.api_key.name, overlap=wire_seconds(3600))
        )
        changed = await watch.next()
        await peers.api_keys.DeleteApiKey(pb.DeleteApiKeyRequest(name=made.api_key.name))
        removed = await watch.next()

    assert [key.key_digest for key in snapshot.api_keys] == [digest(kept.secret)]
    [key] = created.api_keys
    assert (key.name, key.key_digest, list(key.allowed_models)) == ("ci", digest(made.secret), ["gpt-5.5"])
    [key] = changed.api_keys
    assert (key.key_digest, key.previous_key_digest) == (digest(rotated.secret), digest(made.secret))
    assert key.previous_key_until == wire_instant(clock.now() + timedelta(hours=1))
    assert list(removed.removed_api_key_ids) == [key.api_key_id]
    assert not any(delta.is_snapshot or delta.HasField("catalog") for delta in (created, changed, removed))


async def test_a_gateway_that_comes_back_learns_which_keys_are_gone(peers: Peers) -> None:
    made = await create(peers)
    async with peers.watch() as watch:
        held = await watch.next()
    await peers.api_keys.DeleteApiKey(pb.DeleteApiKeyRequest(name=made.api_key.name))

    async with peers.watch(version=held.version, history_id=held.history_id) as watch:
        missed: policy_pb2.WatchResponse = await watch.next()

    assert (missed.is_snapshot, list(missed.api_keys)) == (False, [])
    assert list(missed.removed_api_key_ids) == [made.api_key.name.removeprefix("apiKeys/")]
