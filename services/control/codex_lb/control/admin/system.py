"""SystemService: the product as a whole."""

from __future__ import annotations

from typing import TypeAlias

import grpc.aio

from codex_lb.api.admin.v1 import system_service_pb2 as pb
from codex_lb.api.admin.v1 import system_service_pb2_grpc
from codex_lb.control.admin.permissions import ruled
from codex_lb.control.rpcs.instants import wire_instant
from codex_lb.control.usecases.system_status import TellStatus

SERVICE = pb.DESCRIPTOR.services_by_name["SystemService"]

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"


class SystemRpc(system_service_pb2_grpc.SystemServiceServicer):
    """The face of the status."""

    def __init__(self, tell: TellStatus) -> None:
        self._tell = tell

    @ruled(SERVICE)
    async def GetStatus(self, _request: pb.GetStatusRequest, _: Context) -> pb.GetStatusResponse:
        """The status now."""
        status = self._tell()
        return pb.GetStatusResponse(
            version=status.version,
            started_at=wire_instant(status.started_at),
            accounts_by_status={name.value: count for name, count in status.accounts_by_status.items()},
            gateways=[
                pb.AttachedGateway(
                    replica_id=seen.gateway.replica_id,
                    version=seen.gateway.version,
                    leases=seen.leases,
                    heard_at=wire_instant(seen.gateway.heard_at),
                )
                for seen in status.gateways
            ],
            leases=status.leases,
            worker_seen_at=wire_instant(status.worker_seen_at),
            database=status.database,
            settlements_waiting=status.settlements_waiting,
            turns_recorded=status.turns_recorded,
            models=status.models,
        )
