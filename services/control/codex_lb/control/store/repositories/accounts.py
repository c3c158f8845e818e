"""Accounts, their sealed credentials and their evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import RowMapping, delete, insert, select, update

from codex_lb.control.domain.account import Account, Identity, RoutingPolicy
from codex_lb.control.domain.evidence import Evidence
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.simulation import Sample
from codex_lb.control.errors import AccountNotFoundError, StoreConflictError
from codex_lb.control.store.repositories.deletions import delete_where
from codex_lb.control.store.repositories.evidence import EvidenceLog
from codex_lb.control.store.repositories.inserts import insert_into
from codex_lb.control.store.repositories.rollups import SqlRollups
from codex_lb.control.store.tables import accounts, attempts, credentials, evidence, turns
from codex_lb.control.store.transaction import Transaction
from codex_lb.control.usecases.vault_ports import SealedCredential

_ACCOUNTS = select(
    accounts,
    credentials.c.generation,
    credentials.c.access_expires_at,
    credentials.c.key_id,
    credentials.c.ciphertext,
    credentials.c.refreshed_at,
).join_from(accounts, credentials)


class SqlAccounts:
    """The port over `accounts`, `credentials` and `evidence`."""

    def __init__(self, transaction: Transaction, log: EvidenceLog, rollups: SqlRollups) -> None:
        self._transaction = transaction
        self._log = log
        self._rollups = rollups

    async def all(self) -> list[tuple[Account, SealedCredential]]:
        rows = await self._transaction.run(_ACCOUNTS.order_by(accounts.c.created_at, accounts.c.account_id))
        return [(_account_of(row), _sealed_of(row)) for row in rows.mappings()]

    async def get(self, account_id: AccountId) -> tuple[Account, SealedCredential] | None:
        rows = await self._transaction.run(_ACCOUNTS.where(accounts.c.account_id == account_id))
        row = rows.mappings().one_or_none()
        return (_account_of(row), _sealed_of(row)) if row is not None else None

    async def by_identity(self, identity: Identity) -> Account | None:
        rows = await self._transaction.run(
            _ACCOUNTS.where(
                accounts.c.issuer == identity.issuer,
                accounts.c.user_id == identity.user_id,
                accounts.c.workspace_id == identity.workspace_id,
            )
        )
        row = rows.mappings().one_or_none()
        return _account_of(row) if row is not None else None

    async def add(self, account: Account, sealed: SealedCredential) -> None:
        # ON CONFLICT: an error would end PostgreSQL's transaction, and with it the rest of a bulk import.
        new = insert_into(accounts, self._transaction.dialect).on_conflict_do_nothing().returning(accounts.c.account_id)
        row = _row_of(account) | {"account_id": account.account_id, "created_at": account.created_at}
        if (await self._transaction.run(new, row)).one_or_none() is None:
            raise StoreConflictError("the pool already has this account")
        credential = _credential_row(account, sealed) | {"account_id": account.account_id}
        await self._transaction.run(insert(credentials), credential)

    async def update(self, account: Account) -> None:
        changed = await self._transaction.run(
            update(accounts).where(accounts.c.account_id == account.account_id).values(_row_of(account))
        )
        if changed.rowcount == 0:
            raise AccountNotFoundError(f"no account has the id {account.account_id}")

    async def replace_credential(self, account: Account, sealed: SealedCredential) -> bool:
        await self.update(account)  # first, so that two replacements queue behind one another on the account's row
        changed = await self._transaction.run(
            update(credentials)
            .where(credentials.c.account_id == account.account_id, credentials.c.generation < sealed.generation)
            .values(_credential_row(account, sealed))
        )
        return changed.rowcount > 0

    async def delete(self, account_id: AccountId, *, with_history: bool) -> bool:
        if with_history:
            await delete_where(self._transaction, turns.c.turn_id, turns.c.account_id == account_id)
            await delete_where(self._transaction, attempts.c.lease_id, attempts.c.account_id == account_id)
            await self._rollups.forget(account_id)
        await delete_where(self._transaction, evidence.c.evidence_id, evidence.c.account_id == account_id)
        deleted = await self._transaction.run(delete(accounts).where(accounts.c.account_id == account_id))
        return deleted.rowcount > 0

    async def append_evidence(self, rows: Sequence[tuple[AccountId, Evidence]]) -> None:
        await self._log.append(rows)

    async def usage_seen(self, *, since: datetime, until: datetime, samples_max: int) -> list[Sample]:
        return await self._log.usage(since=since, until=until, samples_max=samples_max)

    async def newest_evidence(self) -> Mapping[AccountId, Sequence[Evidence]]:
        return await self._log.newest()


def _row_of(account: Account) -> dict[str, object]:
    return {
        "issuer": account.identity.issuer,
        "user_id": account.identity.user_id,
        "workspace_id": account.identity.workspace_id,
        "email": account.email,
        "plan": account.plan,
        "chatgpt_account_id": account.chatgpt_account_id,
        "alias": account.alias,
        "updated_at": account.updated_at,
        "routing_policy": account.routing_policy.value,
        "priority": account.priority,
        "stop_percent": account.stop_percent,
    }


def _credential_row(account: Account, sealed: SealedCredential) -> dict[str, object]:
    return {
        "generation": sealed.generation,
        "access_expires_at": account.access_expires_at,
        "key_id": sealed.key_id,
        "ciphertext": sealed.ciphertext,
        "refreshed_at": account.refreshed_at,
    }


def _account_of(row: RowMapping) -> Account:
    return Account(
        account_id=AccountId(row["account_id"]),
        identity=Identity(row["issuer"], row["user_id"], row["workspace_id"]),
        email=row["email"],
        plan=row["plan"],
        chatgpt_account_id=row["chatgpt_account_id"],
        alias=row["alias"],
        generation=row["generation"],
        access_expires_at=row["access_expires_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        refreshed_at=row["refreshed_at"],
        routing_policy=RoutingPolicy(row["routing_policy"]),
        priority=row["priority"],
        stop_percent=row["stop_percent"],
    )


def _sealed_of(row: RowMapping) -> SealedCredential:
    return SealedCredential(row["generation"], row["key_id"], row["ciphertext"])
