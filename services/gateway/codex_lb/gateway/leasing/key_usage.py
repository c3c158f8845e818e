"""What a key has used, asked of control: the one thing about a key that the snapshot does not hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import grpc.aio

from codex_lb.api.control.v1 import policy_pb2 as pb
from codex_lb.api.control.v1 import policy_pb2_grpc
from codex_lb.gateway.errors import ControlUnavailableError
from codex_lb.gateway.leasing import wire

WITHIN_S = 3.0  # a sum over the key's rows; nobody waits for it but who asks


@dataclass(frozen=True, slots=True)
class LimitUse:
    """How a limit of a key stands."""

    unit: str
    window: str
    model: str
    amount_max: int
    amount_used: int
    resets_at: datetime
    length_s: float


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """What a key has used since it was made."""

    requests: int
    total_tokens: int
    cached_input_tokens: int
    cost_micro_usd: int
    limits: tuple[LimitUse, ...]


class KeyUsages:
    """Asks control."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = policy_pb2_grpc.PolicyServiceStub(channel)

    async def of(self, api_key_id: str) -> KeyUsage:
        """Raises ControlUnavailableError."""
        try:
            message = await self._stub.GetKeyUsage(pb.GetKeyUsageRequest(api_key_id=api_key_id), timeout=WITHIN_S)
        except grpc.aio.AioRpcError as error:
            raise ControlUnavailableError("The key's usage is not known now. Try again in a few seconds.") from error
        return KeyUsage(
            requests=message.requests,
            total_tokens=message.usage.total_tokens,
            cached_input_tokens=message.usage.cached_input_tokens,
            cost_micro_usd=message.cost_micro_usd,
            limits=tuple(
                LimitUse(
                    unit=one.unit,
                    window=one.window,
                    model=one.model,
                    amount_max=one.amount_max,
                    amount_used=one.amount_used,
                    resets_at=wire.read_instant(one.resets_at),
                    length_s=wire.read_span(one.length),
                )
                for one in message.limits
            ),
        )
