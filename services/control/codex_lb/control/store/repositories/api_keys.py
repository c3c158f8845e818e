"""API keys and their limits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import RowMapping, delete, func, insert, select, update

from codex_lb.control.domain.api_key import ApiKey, UsageSection
from codex_lb.control.domain.ids import AccountId, ApiKeyId
from codex_lb.control.domain.limit import Limit, LimitUnit, LimitWindow
from codex_lb.control.store.tables import api_key_limits, api_keys, turns
from codex_lb.control.store.transaction import Transaction


class SqlApiKeys:
    """The port over `api_keys` and `api_key_limits`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def all(self) -> list[ApiKey]:
        limits: defaultdict[str, list[Limit]] = defaultdict(list)
        for row in (await self._transaction.run(select(api_key_limits).order_by(api_key_limits.c.position))).mappings():
            limits[row["api_key_id"]].append(_limit_of(row))
        rows = await self._transaction.run(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.api_key_id))
        return [_key_of(row, limits[row["api_key_id"]]) for row in rows.mappings()]

    async def get(self, api_key_id: ApiKeyId) -> ApiKey | None:
        of_key = select(api_key_limits).where(api_key_limits.c.api_key_id == api_key_id)
        limits = (await self._transaction.run(of_key.order_by(api_key_limits.c.position))).mappings()
        found = [_limit_of(limit) for limit in limits]
        rows = await self._transaction.run(select(api_keys).where(api_keys.c.api_key_id == api_key_id))
        row = rows.mappings().one_or_none()
        return None if row is None else _key_of(row, found)

    async def add(self, key: ApiKey) -> None:
        row = _row_of(key) | {"api_key_id": key.api_key_id, "created_at": key.created_at}
        await self._transaction.run(insert(api_keys), row)
        await self._put_limits(key)

    async def save(self, key: ApiKey) -> bool:
        changed = await self._transaction.run(
            update(api_keys)
            .where(api_keys.c.api_key_id == key.api_key_id, api_keys.c.revision == key.revision - 1)
            .values(_row_of(key))
        )
        if changed.rowcount == 0:
            return False
        await self._transaction.run(delete(api_key_limits).where(api_key_limits.c.api_key_id == key.api_key_id))
        await self._put_limits(key)
        return True

    async def delete(self, api_key_id: ApiKeyId) -> bool:
        deleted = await self._transaction.run(delete(api_keys).where(api_keys.c.api_key_id == api_key_id))
        return deleted.rowcount > 0

    async def last_used(self, of: Collection[ApiKeyId]) -> Mapping[ApiKeyId, datetime]:
        # One probe of the index per key: a GROUP BY over the request log would read all of it.
        newest = (
            select(func.max(turns.c.started_at)).where(turns.c.api_key_id == api_keys.c.api_key_id).scalar_subquery()
        )
        asked = select(api_keys.c.api_key_id, newest.label("used_at")).where(api_keys.c.api_key_id.in_(of))
        rows = await self._transaction.run(asked)
        return {ApiKeyId(row["api_key_id"]): row["used_at"] for row in rows.mappings() if row["used_at"] is not None}

    async def _put_limits(self, key: ApiKey) -> None:
        rows = [_limit_row(key, position, limit) for position, limit in enumerate(key.limits)]
        if rows:
            await self._transaction.run(insert(api_key_limits), rows)


def _row_of(key: ApiKey) -> dict[str, object]:
    return {
        "revision": key.revision,
        "name": key.name,
        "prefix": key.prefix,
        "digest": key.digest,
        "previous_digest": key.previous_digest,
        "previous_until": key.previous_until,
        "is_enabled": key.is_enabled,
        "expires_at": key.expires_at,
        "allowed_models": list(key.allowed_models),
        "enforced_model": key.enforced_model,
        "enforced_reasoning_effort": key.enforced_reasoning_effort,
        "enforced_service_tier": key.enforced_service_tier,
        "allowed_reasoning_efforts": list(key.allowed_reasoning_efforts),
        "account_scope": None if key.account_scope is None else list(key.account_scope),
        "streams_max": key.streams_max,
        "usage_sections": [section.value for section in key.usage_sections],
        "updated_at": key.updated_at,
    }


def _limit_row(key: ApiKey, position: int, limit: Limit) -> dict[str, object]:
    return {
        "limit_id": limit.limit_id,
        "api_key_id": key.api_key_id,
        "position": position,
        "unit": limit.unit.value,
        "window": limit.window.value,
        "model": limit.model,
        "amount_max": limit.amount_max,
        "begins_at": limit.begins_at,
        "reset_at": limit.reset_at,
    }


def _key_of(row: RowMapping, limits: Sequence[Limit]) -> ApiKey:
    scope = row["account_scope"]
    return ApiKey(
        api_key_id=ApiKeyId(row["api_key_id"]),
        name=row["name"],
        prefix=row["prefix"],
        digest=row["digest"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        revision=row["revision"],
        is_enabled=row["is_enabled"],
        expires_at=row["expires_at"],
        previous_digest=row["previous_digest"],
        previous_until=row["previous_until"],
        allowed_models=tuple(row["allowed_models"]),
        enforced_model=row["enforced_model"],
        enforced_reasoning_effort=row["enforced_reasoning_effort"],
        enforced_service_tier=row["enforced_service_tier"],
        allowed_reasoning_efforts=tuple(row["allowed_reasoning_efforts"]),
        account_scope=None if scope is None else tuple(AccountId(account_id) for account_id in scope),
        streams_max=row["streams_max"],
        usage_sections=tuple(UsageSection(section) for section in row["usage_sections"]),
        limits=tuple(limits),
    )


def _limit_of(row: RowMapping) -> Limit:
    return Limit(
        limit_id=row["limit_id"],
        unit=LimitUnit(row["unit"]),
        window=LimitWindow(row["window"]),
        model=row["model"],
        amount_max=row["amount_max"],
        begins_at=row["begins_at"],
        reset_at=row["reset_at"],
    )
