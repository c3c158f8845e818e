"""The limits of API keys, counted together by several controls, over Redis. Slots and reservations are in `redis.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol, cast

from codex_lb.control.coordination.lease_records import microseconds
from codex_lb.control.coordination.limit_records import known_of, packed_limits, use_of
from codex_lb.control.coordination.scripts import Reply, script_of
from codex_lb.control.domain.ids import ApiKeyId
from codex_lb.control.domain.limit import Limit
from codex_lb.control.errors import CoordinationUnavailableError
from codex_lb.control.usecases.limit_ports import KeyUse, Known
from codex_lb.kit.redis import Argument, Script

KNOWN, PUT, USE, FORGET, REVISE = (
    script_of("budgets", "leases", name) for name in ("known", "put", "use", "forget", "revise")
)


class Table(Protocol):
    """The lease table that these limits belong to."""

    async def run(
        self, script: Script, *arguments: Argument, deadline_s: float | None = None, reaches: bool = True
    ) -> Reply:
        """One operation. Raises CoordinationUnavailableError."""
        ...

    async def retell(self, api_key_id: ApiKeyId, limits: Sequence[Limit]) -> None:
        """What has ended and is not in the ledger counts in these limits too."""
        ...

    def owe_revision(self, api_key_id: ApiKeyId, revision: int) -> None:
        """To be told as soon as it can be."""
        ...


class RedisBudgets:
    """The Budgets port for several control replicas. Windows begin and end by Redis's clock."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def use_of(
        self,
        keys: Sequence[tuple[ApiKeyId, Sequence[Limit]]],
        *,
        now: datetime,  # noqa: ARG002 - Redis's own time counts
    ) -> Sequence[KeyUse]:
        """How the limits of these keys stand, in their present windows."""
        arguments: list[Argument] = []
        for api_key_id, limits in keys:
            arguments += (api_key_id, len(limits), *packed_limits(limits))
        reply = await self._table.run(USE, *arguments, reaches=False)
        told = cast("list[object]", reply.rest[0])
        return [use_of(key, limits, use) for (key, limits), use in zip(keys, told, strict=True)]

    async def known(
        self,
        api_key_id: ApiKeyId,
        limits: Sequence[Limit],
        *,
        now: datetime,  # noqa: ARG002 - Redis's own time counts
    ) -> Known:
        """What a count of these limits must leave to the counters."""
        reply = await self._table.run(KNOWN, api_key_id, *packed_limits(limits), reaches=False)
        return known_of(limits, reply.rest)

    async def put(
        self, api_key_id: ApiKeyId, used: Mapping[str, int], since: Mapping[str, datetime], *, version: int
    ) -> bool:
        """Sets what is used of limits that count since then, unless anything has moved."""
        arguments: list[Argument] = []
        for limit_id, amount in used.items():
            arguments += (limit_id, microseconds(since[limit_id]), amount)
        return (await self._table.run(PUT, api_key_id, version, *arguments, reaches=False)).how == "ok"

    async def changed(self, api_key_id: ApiKeyId, revision: int, limits: Sequence[Limit]) -> None:
        """A key has these limits from now on, at every control."""
        try:
            await self._table.run(REVISE, api_key_id, revision, reaches=False)
        except CoordinationUnavailableError:
            self._table.owe_revision(api_key_id, revision)
            raise
        finally:
            await self._table.retell(api_key_id, limits)

    async def forget(self, api_key_id: ApiKeyId, limit_ids: Sequence[str]) -> None:
        """Limits of a key that are gone."""
        await self._table.run(FORGET, api_key_id, *limit_ids, reaches=False)
