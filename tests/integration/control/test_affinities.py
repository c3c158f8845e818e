"""Affinities as operators see them: listed, filtered, dropped."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration

from codex_lb.api.admin.v1 import account_service_pb2 as accounts_pb
from codex_lb.api.admin.v1 import affinity_service_pb2 as pb
from codex_lb.api.control.v1 import leases_pb2
from codex_lb.api.errors.v1 import reasons_pb2
from tests.integration.control.peers import Gateway, Peers, refused
from tests.support.clock import FakeClock
from tests.support.logins import auth_file


@pytest.fixture
async def names(peers: Peers) -> list[str]:
    """Resource names of two accounts."""
    return [account.name for account in await peers.import_(auth_file("ann"), auth_file("ben"))]


async def serve(gateway: Gateway, key: bytes, account: str) -> None:
    """A turn of a conversation, on an account."""
    continuity = leases_pb2.Continuity(affinity_keys=[key])
    account_id = account.removeprefix("accounts/")
    granted = await gateway.acquire(continuity=continuity, preferred_account_id=account_id)
    assert granted.account_id == account_id


async def listed(peers: Peers, **wanted: object) -> pb.ListAffinitiesResponse:
    return await peers.affinities.ListAffinities(pb.ListAffinitiesRequest(**wanted))  # type: ignore[arg-type]


async def test_affinities_are_listed_the_last_used_first_page_by_page(
    peers: Peers, names: list[str], clock: FakeClock
) -> None:
    async with peers.attach() as gateway:
        for key, account in ((b"s1", names[0]), (b"c2", names[1]), (b"p3", names[0])):
            await serve(gateway, key, account)
            clock.advance(1)

        first = await listed(peers, page_size=2)
        second = await listed(peers, page_size=2, page_token=first.next_page_token)

    kinds = [(affinity.kind, affinity.account) for page in (first, second) for affinity in page.affinities]
    assert kinds == [
        (pb.AFFINITY_KIND_PREFIX, names[0]),
        (pb.AFFINITY_KIND_CACHE_KEY, names[1]),
        (pb.AFFINITY_KIND_SESSION, names[0]),
    ]
    assert (first.total_size, second.next_page_token) == (3, "")


async def test_affinities_are_found_by_account_kind_and_age(peers: Peers, names: list[str], clock: FakeClock) -> None:
    async with peers.attach() as gateway:
        await serve(gateway, b"s1", names[0])
        clock.advance(600)
        await gateway.heartbeat(clock.now())
        await serve(gateway, b"s2", names[1])

        by_account = await listed(peers, account=names[1])
        by_kind = await listed(peers, kind=pb.AFFINITY_KIND_CACHE_KEY)
        by_age = await listed(peers, idle_min=Duration(seconds=600))

    assert [found.name for found in by_account.affinities] == [f"affinities/{b's2'.hex()}"]
    assert (list(by_kind.affinities), by_kind.total_size) == ([], 0)
    assert [found.account for found in by_age.affinities] == [names[0]]


async def test_one_those_of_an_account_or_all_can_be_dropped(peers: Peers, names: list[str]) -> None:
    async with peers.attach() as gateway:
        for key, account in ((b"s1", names[0]), (b"s2", names[0]), (b"s3", names[1]), (b"s4", names[1])):
            await serve(gateway, key, account)

        one = await peers.affinities.PurgeAffinities(pb.PurgeAffinitiesRequest(name=f"affinities/{b's1'.hex()}"))
        of_account = await peers.affinities.PurgeAffinities(pb.PurgeAffinitiesRequest(account=names[0]))
        young = pb.PurgeAffinitiesRequest(all=True, idle_min=Duration(seconds=60))
        too_young = await peers.affinities.PurgeAffinities(young)
        rest = await peers.affinities.PurgeAffinities(pb.PurgeAffinitiesRequest(all=True))

    assert [one.purged, of_account.purged, too_young.purged, rest.purged] == [1, 1, 0, 2]
    assert (await listed(peers)).total_size == 0


async def test_a_deleted_account_leaves_no_affinity(peers: Peers, names: list[str]) -> None:
    async with peers.attach() as gateway:
        await serve(gateway, b"s1", names[0])

        await peers.accounts.DeleteAccount(accounts_pb.DeleteAccountRequest(name=names[0]))

    assert (await listed(peers)).total_size == 0


@pytest.mark.parametrize(
    "request_",
    [pb.PurgeAffinitiesRequest(), pb.PurgeAffinitiesRequest(all=True, name="affinities/00"), pb.PurgeAffinitiesRequest(name="x")],
)  # fmt: skip
async def test_what_is_to_be_dropped_must_be_said(peers: Peers, request_: pb.PurgeAffinitiesRequest) -> None:
    failure = await refused(peers.affinities.PurgeAffinities(request_))

    assert failure.reason == reasons_pb2.ERROR_REASON_INVALID_ARGUMENT


async def test_a_control_that_never_saw_a_conversation_fail_learns_of_it_from_the_gateway_that_did(
    peers: Peers, names: list[str]
) -> None:
    here, elsewhere = (name.removeprefix("accounts/") for name in names)
    failure = leases_pb2.RecentFailure(affinity_keys=[b"s1"], account_id=here, ago=Duration(seconds=20))

    async with peers.attach(failures=[failure]) as gateway:
        hurt = leases_pb2.Continuity(affinity_keys=[b"s1"])
        granted = [await gateway.acquire(continuity=hurt, preferred_account_id=here) for _ in range(2)]

    assert [one.account_id for one in granted] == [elsewhere] * 2
