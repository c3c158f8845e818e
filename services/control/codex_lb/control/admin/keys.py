"""KeyService: the keys that logins are sealed with."""

from __future__ import annotations

from typing import TypeAlias

import grpc.aio

from codex_lb.api.admin.v1 import key_service_pb2 as pb
from codex_lb.api.admin.v1 import key_service_pb2_grpc
from codex_lb.control.admin.permissions import ruled
from codex_lb.control.rpcs.instants import wire_instant
from codex_lb.control.usecases.rotate_keys import KeyState, KeyView, RotateKeys

SERVICE = pb.DESCRIPTOR.services_by_name["KeyService"]

STATE = {
    KeyState.PRESENT: pb.KEY_STATE_PRESENT,
    KeyState.OLDER: pb.KEY_STATE_OLDER,
    KeyState.RETIRING: pb.KEY_STATE_RETIRING,
    KeyState.RETIRED: pb.KEY_STATE_RETIRED,
    KeyState.MISSING: pb.KEY_STATE_MISSING,
}

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"


class KeyRpc(key_service_pb2_grpc.KeyServiceServicer):
    """The face of the keys. What it tells of one is its id, never the key."""

    def __init__(self, rotate: RotateKeys) -> None:
        self._rotate = rotate

    @ruled(SERVICE)
    async def ListKeys(self, _request: pb.ListKeysRequest, _: Context) -> pb.ListKeysResponse:
        """All keys, and how far a rotation is."""
        return pb.ListKeysResponse(keys=[key(view) for view in await self._rotate.list()], problem=self._rotate.problem)

    @ruled(SERVICE)
    async def RotateKeys(self, _request: pb.RotateKeysRequest, _: Context) -> pb.RotateKeysResponse:
        """The keys once a new one seals."""
        return pb.RotateKeysResponse(keys=[key(view) for view in await self._rotate.start()])


def key(view: KeyView) -> pb.Key:
    """A key."""
    known = view.fingerprint
    return pb.Key(
        key_id=known.key_id,
        state=STATE[view.state],
        sealed=view.sealed,
        added_at=wire_instant(known.added_at),
        retiring_at=wire_instant(known.retiring_at),
        retired_at=wire_instant(known.retired_at),
    )
