"""Sign-ins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, RowMapping, delete, insert, select, update

from codex_lb.control.domain.enrolment import LIVE, Flow, FlowMethod, FlowStage
from codex_lb.control.domain.ids import AccountId, FlowId
from codex_lb.control.store.tables import oauth_flows
from codex_lb.control.store.transaction import Transaction
from codex_lb.control.usecases.vault_ports import Sealed

_ERASED = {"key_id": "", "ciphertext": b""}


class SqlFlows:
    """The port over `oauth_flows`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, flow: Flow, sealed: Sealed) -> None:
        row = _row_of(flow) | {"key_id": sealed.key_id, "ciphertext": sealed.ciphertext}
        await self._transaction.run(insert(oauth_flows), row)

    async def get(self, flow_id: FlowId) -> tuple[Flow, Sealed] | None:
        return await self._one(oauth_flows.c.flow_id == flow_id)

    async def by_state(self, state_digest: str) -> tuple[Flow, Sealed] | None:
        return await self._one(oauth_flows.c.state_digest == state_digest) if state_digest else None

    async def live(self, *, now: datetime) -> Sequence[tuple[Flow, Sealed]]:
        rows = await self._transaction.run(
            select(oauth_flows)
            .where(oauth_flows.c.stage.in_([stage.value for stage in LIVE]), oauth_flows.c.expires_at > now)
            .order_by(oauth_flows.c.created_at, oauth_flows.c.flow_id)
        )
        return [(_flow_of(row), _sealed_of(row)) for row in rows.mappings()]

    async def save(self, flow: Flow) -> bool:
        changed = await self._transaction.run(
            update(oauth_flows)
            .where(oauth_flows.c.flow_id == flow.flow_id, oauth_flows.c.revision == flow.revision)
            .values(_row_of(flow) | {"revision": flow.revision + 1} | ({} if flow.stage in LIVE else _ERASED))
        )
        return changed.rowcount > 0

    async def purge(self, *, before: datetime) -> None:
        await self._transaction.run(delete(oauth_flows).where(oauth_flows.c.expires_at < before))

    async def _one(self, condition: ColumnElement[bool]) -> tuple[Flow, Sealed] | None:
        rows = await self._transaction.run(select(oauth_flows).where(condition))
        row = rows.mappings().one_or_none()
        return (_flow_of(row), _sealed_of(row)) if row is not None else None


def _row_of(flow: Flow) -> dict[str, object]:
    return {
        "flow_id": flow.flow_id,
        "revision": flow.revision,
        "method": flow.method.value,
        "stage": flow.stage.value,
        "target_account_id": flow.target or "",
        "state_digest": flow.state_digest,
        "created_at": flow.created_at,
        "expires_at": flow.expires_at,
        "busy_until": flow.busy_until,
        "poll_at": flow.poll_at,
        "poll_period_s": flow.poll_period_s,
        "problem": flow.problem,
        "account_id": flow.account_id or "",
        "is_account_new": flow.is_account_new,
    }


def _flow_of(row: RowMapping) -> Flow:
    return Flow(
        flow_id=FlowId(row["flow_id"]),
        revision=row["revision"],
        method=FlowMethod(row["method"]),
        stage=FlowStage(row["stage"]),
        target=AccountId(row["target_account_id"]) if row["target_account_id"] else None,
        state_digest=row["state_digest"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        busy_until=row["busy_until"],
        poll_at=row["poll_at"],
        poll_period_s=row["poll_period_s"],
        problem=row["problem"],
        account_id=AccountId(row["account_id"]) if row["account_id"] else None,
        is_account_new=row["is_account_new"],
    )


def _sealed_of(row: RowMapping) -> Sealed:
    return Sealed(row["key_id"], row["ciphertext"])
