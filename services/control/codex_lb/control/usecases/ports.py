"""What the verbs need of the database: the unit of work, and the rows that have no ports of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from codex_lb.control.domain.account import Account, Identity
from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.evidence import Evidence
from codex_lb.control.domain.ids import AccountId, ApiKeyId, TicketId
from codex_lb.control.domain.rotation import Exchange, ExchangeOutcome
from codex_lb.control.domain.simulation import Sample
from codex_lb.control.usecases.alert_ports import Alerts
from codex_lb.control.usecases.ledger_ports import Turns
from codex_lb.control.usecases.limit_ports import Spendings
from codex_lb.control.usecases.log_ports import RequestLog, Rollups
from codex_lb.control.usecases.sign_in_ports import Flows
from codex_lb.control.usecases.vault_ports import Fingerprints, SealedCredential, SealedRows
from codex_lb.control.usecases.web_access_ports import WebAccessRows


class Accounts(Protocol):
    """The accounts, their sealed credentials and their evidence."""

    async def all(self) -> list[tuple[Account, SealedCredential]]:
        """Every account, oldest first."""
        ...

    async def get(self, account_id: AccountId) -> tuple[Account, SealedCredential] | None:
        """The account of that id, if the pool has it."""
        ...

    async def by_identity(self, identity: Identity) -> Account | None:
        """The account of an identity, if the pool has it."""
        ...

    async def add(self, account: Account, sealed: SealedCredential) -> None:
        """Raises StoreConflictError when the identity is already there."""
        ...

    async def update(self, account: Account) -> None:
        """Writes all but the login: generation and expiry come with the credential. Raises AccountNotFoundError."""
        ...

    async def replace_credential(self, account: Account, sealed: SealedCredential) -> bool:
        """Stores a newer login with the account's row; False when a generation at least as new is stored already.

        Raises AccountNotFoundError.
        """
        ...

    async def delete(self, account_id: AccountId, *, with_history: bool) -> bool:
        """Removes the account, its credential and evidence; its turns too, or else they stay and name it still."""
        ...

    async def append_evidence(self, rows: Sequence[tuple[AccountId, Evidence]]) -> None:
        """Adds to the log; drops evidence of accounts that are gone, and what repeats a row of the last minutes."""
        ...

    async def usage_seen(self, *, since: datetime, until: datetime, samples_max: int) -> list[Sample]:
        """Windows as they were seen in a period, oldest first; the newest so many."""
        ...

    async def newest_evidence(self) -> Mapping[AccountId, Sequence[Evidence]]:
        """For each account the newest row of every kind and window: all that its record needs."""
        ...


class ApiKeys(Protocol):
    """What clients present, with what it may be used for."""

    async def all(self) -> list[ApiKey]:
        """Every key, oldest first."""
        ...

    async def get(self, api_key_id: ApiKeyId) -> ApiKey | None:
        """The key of that id, if there is one."""
        ...

    async def add(self, key: ApiKey) -> None:
        """A new one."""
        ...

    async def save(self, key: ApiKey) -> bool:
        """Stores a key's next revision; False when the stored one is not the revision before it."""
        ...

    async def delete(self, api_key_id: ApiKeyId) -> bool:
        """Removes it; what it spent stays."""
        ...

    async def last_used(self, of: Collection[ApiKeyId]) -> Mapping[ApiKeyId, datetime]:
        """When turns of each of these keys were last recorded."""
        ...


class Exchanges(Protocol):
    """The journal of token exchanges: written before a refresh token leaves control."""

    async def begin(self, exchanges: Sequence[Exchange]) -> None:
        """Raises StoreConflictError when an account is gone."""
        ...

    async def end(self, ticket_id: TicketId, outcome: ExchangeOutcome, *, ended_at: datetime) -> None:
        """What came of it; an exchange that has ended stays as it ended."""
        ...

    async def recent(self, *, since: datetime) -> list[Exchange]:
        """Those that began since then, and all of logins that are still the newest; oldest first."""
        ...


class Catalogs(Protocol):
    """Model lists by plan."""

    async def by_plan(self) -> Mapping[str, Sequence[tuple[str, bytes]]]:
        """The last list of every plan as (slug, entry JSON), in upstream's order."""
        ...

    async def put(self, plan: str, models: Sequence[tuple[str, bytes]], *, seen_at: datetime) -> None:
        """Replaces a plan's list."""
        ...


class Terms(Protocol):
    """Numbers that must rise across restarts."""

    async def next(self, name: str) -> int:
        """The next number of a counter, from 1, never given twice."""
        ...


class SettingsRows(Protocol):
    """What operators changed; whatever is not there comes from the environment."""

    async def all(self) -> Mapping[str, object]:
        """The values by field of LiveSettings, each in its type."""
        ...

    async def put(self, values: Mapping[str, object]) -> None:
        """Each replaces what was there."""
        ...

    async def remove(self, names: Collection[str]) -> None:
        """As if they had never been changed."""
        ...


class UnitOfWork(Protocol):
    """One transaction: entered to begin, left to commit, or to roll back on an exception."""

    accounts: Accounts
    api_keys: ApiKeys
    spendings: Spendings
    exchanges: Exchanges
    turns: Turns
    request_log: RequestLog
    rollups: Rollups
    alerts: Alerts
    catalogs: Catalogs
    terms: Terms
    fingerprints: Fingerprints
    sealed_rows: SealedRows
    flows: Flows
    settings: SettingsRows
    web_access: WebAccessRows

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Store(Protocol):
    """The database."""

    def begin(self, *, writing: bool) -> UnitOfWork:
        """A transaction; writers queue behind one another where the database has but one."""
        ...
