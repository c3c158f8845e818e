"""What the verbs need of the database, as short protocols. store implements them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from codex_lb.control.domain.account import Account, Identity
from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.enrolment import Flow
from codex_lb.control.domain.evidence import Evidence
from codex_lb.control.domain.ids import AccountId, ApiKeyId, FlowId, LeaseId, TicketId, TurnId
from codex_lb.control.domain.lease import Anchor, Settlement, TurnReport
from codex_lb.control.domain.rotation import Exchange, ExchangeOutcome
from codex_lb.control.domain.simulation import RecordedLease, Sample
from codex_lb.control.usecases.alert_ports import Alerts
from codex_lb.control.usecases.limit_ports import Spendings
from codex_lb.control.usecases.log_ports import RequestLog, Rollups
from codex_lb.control.usecases.vault_ports import Sealed, SealedCredential


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

    async def add(self, key: ApiKey) -> None:
        """A new one."""
        ...

    async def save(self, key: ApiKey) -> bool:
        """Stores a key's next revision; False when the stored one is not the revision before it."""
        ...

    async def delete(self, api_key_id: ApiKeyId) -> bool:
        """Removes it; what it spent stays."""
        ...

    async def last_used(self) -> Mapping[ApiKeyId, datetime]:
        """When turns of each key were last recorded."""
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


class Turns(Protocol):
    """What was spent."""

    async def record(self, settlements: Sequence[Settlement], reports: Sequence[TurnReport]) -> int:
        """Writes attempts and turns, each once: a repeated one changes nothing, the truth replaces `abandoned`.

        Returns how many rows were written.
        """
        ...

    async def report(self, turn_id: TurnId) -> TurnReport | None:
        """The line of one turn."""
        ...

    async def attempts(self, turn_id: TurnId) -> list[Settlement]:
        """Every settled lease of one turn, the first attempt first."""
        ...

    async def granted(self, *, since: datetime, until: datetime, leases_max: int) -> tuple[list[RecordedLease], int]:
        """Ended leases that were granted in a period, oldest first, the newest so many; and how many there were."""
        ...

    async def anchors(self, *, since: datetime) -> list[tuple[AccountId, Sequence[Anchor]]]:
        """What accounts gave in leases that ended since then, oldest first."""
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


class Fingerprints(Protocol):
    """Which encryption keys the stored credentials were sealed with, by key id."""

    async def load(self) -> frozenset[str]:
        """Every key id seen so far and not retired. In a writing unit nobody else loads them until the unit ends."""
        ...

    async def all(self) -> Sequence[Fingerprint]:
        """What became of every key; the same holds in a writing unit."""
        ...

    async def save(self, key_ids: Iterable[str], *, added_at: datetime | None = None) -> None:
        """Adds to those in use; one that was retired is in use again."""
        ...

    async def begin_retiring(self, key_ids: Collection[str], *, at: datetime) -> None:
        """What they sealed is sealed anew from now on."""
        ...

    async def keep(self, key_ids: Collection[str]) -> None:
        """They are not retiring after all."""
        ...

    async def retire(self, key_ids: Collection[str], *, at: datetime) -> None:
        """They seal nothing any more."""
        ...

    async def forget(self, key_ids: Collection[str]) -> None:
        """They were never used."""
        ...


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What became of one encryption key."""

    key_id: str
    added_at: datetime | None = None  # None: before this was noted
    retiring_at: datetime | None = None
    retired_at: datetime | None = None

    @property
    def is_retiring(self) -> bool:
        """Whether its rotation is under way."""
        return self.retiring_at is not None and self.retired_at is None


@dataclass(frozen=True, slots=True)
class SealedRow:
    """One stored secret, wherever it stands."""

    table: str
    row_id: str
    sealed: Sealed


class SealedRows(Protocol):
    """Everything the vault sealed, whatever it is: what a rotation of keys has to seal anew."""

    async def count_by_key(self) -> Mapping[str, int]:
        """How many rows each key seals."""
        ...

    async def of_keys(self, key_ids: Collection[str], *, after: SealedRow | None, rows_max: int) -> Sequence[SealedRow]:
        """The next rows that these keys sealed."""
        ...

    async def replace(self, row: SealedRow, sealed: Sealed) -> bool:
        """Puts the same secret, sealed anew, in place; False when the row has another one by now."""
        ...


class Flows(Protocol):
    """Sign-ins that are under way, and those of the last day."""

    async def add(self, flow: Flow, sealed: Sealed) -> None:
        """A new one."""
        ...

    async def get(self, flow_id: FlowId) -> tuple[Flow, Sealed] | None:
        """The one of that id."""
        ...

    async def by_state(self, state_digest: str) -> tuple[Flow, Sealed] | None:
        """The one whose browser was given that state."""
        ...

    async def live(self, *, now: datetime) -> Sequence[tuple[Flow, Sealed]]:
        """Those that can still succeed, oldest first."""
        ...

    async def save(self, flow: Flow) -> bool:
        """Stores what became of a flow, unless somebody changed it since it was read; then False.

        The secret of one that has ended is erased.
        """
        ...

    async def purge(self, *, before: datetime) -> None:
        """Forgets those that expired before then."""
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

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Store(Protocol):
    """The database."""

    def begin(self, *, writing: bool) -> UnitOfWork:
        """A transaction; writers queue behind one another where the database has but one."""
        ...


class Ledger(Protocol):
    """The batch writer for what comes with every turn."""

    @property
    def waiting(self) -> int:
        """Entries accepted and not yet committed."""
        ...

    async def write(
        self,
        settlements: Sequence[Settlement],
        reports: Sequence[TurnReport],
        evidence: Sequence[tuple[AccountId, Evidence]],
    ) -> None:
        """Returns once all of it is committed, together with what others handed in meanwhile.

        Raises EntriesRefusedError when some of it can never be stored (the rest is), and StoreUnavailableError when the
        ledger closes before the database answers.
        """
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """Ids that the gateway can forget: all are committed, but for leases whose settlement can never be stored."""

    lease_ids: tuple[LeaseId, ...]
    turn_ids: tuple[TurnId, ...]
    refused_lease_ids: tuple[LeaseId, ...] = ()
