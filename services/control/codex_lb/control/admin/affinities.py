"""AffinityService: which conversations tend to which accounts."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeAlias

import grpc.aio

from codex_lb.api.admin.v1 import affinity_service_pb2 as pb
from codex_lb.api.admin.v1 import affinity_service_pb2_grpc
from codex_lb.control.admin.accounts import COLLECTION as ACCOUNTS
from codex_lb.control.admin.accounts import account_id
from codex_lb.control.admin.permissions import ruled
from codex_lb.control.domain.continuity import Affinity, AffinityKind
from codex_lb.control.errors import InvalidResourceNameError, InvalidUpdateError
from codex_lb.control.rpcs.instants import seconds, wire_instant
from codex_lb.control.usecases.affinities import AffinityFilter, ManageAffinities

COLLECTION = "affinities/"
SERVICE = pb.DESCRIPTOR.services_by_name["AffinityService"]
KIND = {
    AffinityKind.SESSION: pb.AFFINITY_KIND_SESSION,
    AffinityKind.CACHE_KEY: pb.AFFINITY_KIND_CACHE_KEY,
    AffinityKind.PREFIX: pb.AFFINITY_KIND_PREFIX,
}
KIND_WANTED = {number: kind for kind, number in KIND.items()}
FOREVER_S = 366 * 86_400.0  # nothing is idle for longer; what is asked for beyond it is cut to it

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"


class AffinityRpc(affinity_service_pb2_grpc.AffinityServiceServicer):
    """The face of affinities."""

    def __init__(self, manage: ManageAffinities) -> None:
        self._manage = manage

    @ruled(SERVICE)
    async def ListAffinities(self, request: pb.ListAffinitiesRequest, _: Context) -> pb.ListAffinitiesResponse:
        """A page."""
        wanted = AffinityFilter(
            account_id=account_id(request.account) if request.account else None,
            kind=KIND_WANTED.get(request.kind),
            idle_min=idle_min(request),
        )
        page = await self._manage.page(wanted, size=request.page_size, token=request.page_token)
        return pb.ListAffinitiesResponse(
            affinities=[affinity(found, page.ttl) for found in page.affinities],
            next_page_token=page.next_page_token,
            total_size=page.total,
        )

    @ruled(SERVICE)
    async def PurgeAffinities(self, request: pb.PurgeAffinitiesRequest, _: Context) -> pb.PurgeAffinitiesResponse:
        """How many there were."""
        if bool(request.name) + bool(request.account) + request.all != 1:
            raise InvalidUpdateError("Say which: name, account or all, and only one of them.")
        wanted = AffinityFilter(
            key=key_of(request.name) if request.name else None,
            account_id=account_id(request.account) if request.account else None,
            idle_min=idle_min(request),
        )
        return pb.PurgeAffinitiesResponse(purged=await self._manage.purge(wanted))


def affinity(found: Affinity, ttl: timedelta) -> pb.Affinity:
    """An affinity."""
    return pb.Affinity(
        name=f"{COLLECTION}{found.key.hex()}",
        kind=KIND[found.kind] if found.kind else pb.AFFINITY_KIND_UNSPECIFIED,
        account=f"{ACCOUNTS}{found.account_id}",
        bound_at=wire_instant(found.bound_at),
        used_at=wire_instant(found.used_at),
        expires_at=wire_instant(found.used_at + ttl),
    )


def key_of(name: str) -> bytes:
    """The key in a resource name. Raises InvalidResourceNameError."""
    try:
        key = bytes.fromhex(name.removeprefix(COLLECTION))
    except ValueError:
        key = b""
    if not key or not name.startswith(COLLECTION):
        raise InvalidResourceNameError("name must have the form affinities/{affinity_id}.")
    return key


def idle_min(request: pb.ListAffinitiesRequest | pb.PurgeAffinitiesRequest) -> timedelta:
    """For how long none of them may have been used."""
    return timedelta(seconds=min(max(seconds(request, "idle_min") or 0.0, 0.0), FOREVER_S))
