"""What the verbs need from the outside, as short protocols. store, vault and coordination implement them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self

from codex_lb.control.domain.account import Account, Credential, Identity, Login
from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.continuity import Affinity
from codex_lb.control.domain.enrolment import Flow
from codex_lb.control.domain.evidence import Evidence
from codex_lb.control.domain.ids import AccountId, ApiKeyId, FlowId, LeaseId, ReplicaId, TicketId, TurnId, WorkerId
from codex_lb.control.domain.lease import Anchor, Lease, Settlement, TurnReport
from codex_lb.control.domain.refresh import Task, Ticket, TicketKind
from codex_lb.control.domain.rotation import Exchange, ExchangeOutcome
from codex_lb.control.domain.simulation import RecordedLease, Sample
from codex_lb.control.usecases.alert_ports import Alerts
from codex_lb.control.usecases.limit_ports import Spendings
from codex_lb.control.usecases.log_ports import RequestLog, Rollups


@dataclass(frozen=True, slots=True)
class SealedCredential:
    """An account's tokens as the vault sealed them; only the vault can open it."""

    generation: int
    key_id: str
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class Sealed:
    """Anything as the vault sealed it."""

    key_id: str
    ciphertext: bytes


class Vault(Protocol):
    """Seals and opens credentials, and other small secrets."""

    def seal(self, credential: Credential, *, generation: int) -> SealedCredential:
        """Encrypts with the present key."""
        ...

    def open(self, sealed: SealedCredential) -> Credential:
        """Raises CredentialUnreadableError when no key of the set fits."""
        ...

    def seal_bytes(self, secret: bytes) -> Sealed:
        """Encrypts with the present key. What is inside must say what it is for."""
        ...

    def open_bytes(self, sealed: Sealed) -> bytes:
        """Raises CredentialUnreadableError when no key of the set fits."""
        ...


class Keys(Protocol):
    """The encryption keys: the file that keeps them, and the vault that uses them."""

    @property
    def ids(self) -> Sequence[str]:
        """Those in the file, newest first; the first one seals."""
        ...

    def draft(self) -> str:
        """Makes a key that is nowhere yet, and tells its id."""
        ...

    async def adopt(self, key_id: str) -> None:
        """The drafted key is the first of the file, safely on disk, and then seals. Raises KeyFileError."""
        ...

    async def drop(self, key_ids: Collection[str]) -> None:
        """They leave the file; what is in memory may open for as long as the process lives. Raises KeyFileError."""
        ...


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


class Leases(Protocol):
    """Who holds which slot right now. Soft: rebuilt from what gateways announce."""

    def in_use(self, account_id: AccountId) -> int:
        """Stream slots taken on an account."""
        ...

    def granted_since(self, account_id: AccountId, when: datetime) -> int:
        """Leases of an account that were granted since then; asked only of accounts that are being probed."""
        ...

    def held(self) -> int:
        """Leases in all."""
        ...

    def held_by(self, replica_id: ReplicaId) -> int:
        """Leases of one gateway."""
        ...

    def on_change(self, listener: Callable[[AccountId], None]) -> None:
        """Tells a listener of every account whose slots are taken or freed, here or by another control."""
        ...

    def on_loss(self, listener: Callable[[], None]) -> None:
        """Tells a listener when it is not known any more what gateways hold, so that they must announce it anew."""
        ...

    def creating(self, account_id: AccountId) -> int:
        """Turns on an account that upstream has not begun to answer."""
        ...

    def last_granted(self, account_id: AccountId) -> int:
        """The fence of its newest lease; 0 when it never had one."""
        ...

    def held_by_key(self, api_key_id: str) -> int:
        """Leases of one API key; of the empty one for turns without a key."""
        ...

    async def take(self, lease: Lease, owner: ReplicaId, *, slots: int, create_slots: int = 0) -> bool:
        """Takes a slot and remembers the lease, or False when the account's slots (0: no limit) are all taken.

        Raises CoordinationUnavailableError when nobody can tell; whatever became of the slot, it will be free again.
        """
        ...

    async def begun(self, lease_ids: Sequence[LeaseId]) -> None:
        """Upstream has begun to answer these: they count as running, no longer as being created."""
        ...

    async def reconcile(self, owner: ReplicaId, held: Sequence[Lease]) -> list[Lease]:
        """Takes a gateway's word for all that it holds, whatever the slots.

        What it names and is unknown is remembered; what it does not name (a grant that was lost on the way) is freed
        and returned. Where that cannot be done now, listeners of `on_loss` are told as soon as it can.
        """
        ...

    async def end(self, lease_id: LeaseId, *, epoch: int) -> Lease | None:
        """Frees the slot, now or as soon as it can be; None when the lease is not known to be held."""
        ...

    async def renew(self, owner: ReplicaId, *, now: datetime) -> bool:
        """A gateway was heard: its leases live for another TTL. False when it was not heard since it last lapsed.

        Then it must announce what it holds. A turn of its own that was waiting may have been granted a slot meanwhile:
        that grant is held, and makes the gateway no better known.
        """
        ...

    async def lapse(self, *, now: datetime) -> list[Lease]:
        """Removes and returns the leases of gateways that were silent for the TTL; to be called again and again.

        Where nobody called it for long, no gateway can have been heard either, so that time may not be counted.
        """
        ...


class Tickets(Protocol):
    """Which refresh work is due, and which worker holds the ticket for it. Soft: planned anew after a restart."""

    async def plan(self, due: Mapping[Task, datetime]) -> None:
        """Takes these for all tasks there are: a new one is due at its instant, one that is missing is forgotten.

        A known one keeps its instant, except those of MOVING_KINDS.
        """
        ...

    async def hurry(self, task: Task, *, now: datetime) -> None:
        """Makes a task due at once. A ticket that is out for it ends: what it would tell is outdated."""
        ...

    async def due(self, kinds: Collection[TicketKind], *, until: datetime, now: datetime) -> Sequence[Task]:
        """The tasks that are due until then and in nobody's hands, the most urgent first."""
        ...

    async def next_due(self, kinds: Collection[TicketKind], *, now: datetime) -> datetime | None:
        """When the next task that is in nobody's hands is due."""
        ...

    async def claim(self, task: Task, worker_id: WorkerId, *, account_id: AccountId, now: datetime) -> Ticket | None:
        """A ticket with a fence above all earlier ones; None when somebody holds one that has not lapsed."""
        ...

    async def out(self, kind: TicketKind, *, now: datetime) -> int:
        """Tickets of a kind that are in somebody's hands and have not lapsed."""
        ...

    async def held(self, ticket_id: TicketId, *, epoch: int, now: datetime) -> Ticket:
        """The ticket of that fence. Raises StaleEpochError when it has ended, lapsed or been given away."""
        ...

    async def end(self, ticket: Ticket, *, next_due_at: datetime) -> None:
        """Takes the ticket back; its task is due again at that instant. Nothing happens to a newer ticket."""
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """Ids that the gateway can forget: all are committed, but for leases whose settlement can never be stored."""

    lease_ids: tuple[LeaseId, ...]
    turn_ids: tuple[TurnId, ...]
    refused_lease_ids: tuple[LeaseId, ...] = ()


class Continuities(Protocol):
    """What ties conversations to accounts. Anchors are facts, kept in the store too; affinities are habits."""

    async def owners(self, digests: Sequence[bytes]) -> Mapping[bytes, AccountId]:
        """The owners of those anchors that are known."""
        ...

    async def affinities(self, keys: Sequence[bytes]) -> Mapping[bytes, AccountId]:
        """The accounts of those keys that are known and not too old."""
        ...

    async def bind(self, keys: Sequence[bytes], account_id: AccountId) -> None:
        """A turn with these keys was given to an account."""
        ...

    async def note_failure(self, key: bytes, account_id: AccountId) -> None:
        """Upstream failed a turn of this conversation on an account."""
        ...

    async def failed_lately(self, key: bytes) -> tuple[AccountId, ...]:
        """The accounts on which upstream failed this conversation a moment ago, the latest last."""
        ...

    async def remember(self, anchors: Sequence[Anchor], account_id: AccountId) -> None:
        """An account gave these."""
        ...

    @property
    def affinity_ttl(self) -> timedelta:
        """How long an affinity counts that no turn uses."""
        ...

    async def habits(self) -> Sequence[Affinity]:
        """Every affinity that still counts, the last used first."""
        ...

    async def unbind(self, keys: Iterable[bytes]) -> int:
        """Drops these affinities; how many of them there were."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What a device shows, and what the issuer knows it by."""

    device_auth_id: str
    user_code: str
    verification_url: str
    poll_period_s: float
    ttl_s: float

    def __repr__(self) -> str:
        return "DeviceCode(…)"


@dataclass(frozen=True, slots=True)
class NotYet:
    """Nobody has typed the device's code yet."""

    slow_down: bool = False


class Issuer(Protocol):
    """Upstream's sign-in. Every method raises IssuerRefusedError or IssuerUnavailableError."""

    @property
    def redirect_uri(self) -> str:
        """Where the browser is sent with the code."""
        ...

    def authorization_url(self, *, state: str, verifier: str) -> str:
        """The page to open."""
        ...

    async def exchange(self, code: str, *, verifier: str, redirect_uri: str) -> Login:
        """The login that a code is good for, once."""
        ...

    async def begin_device(self) -> DeviceCode:
        """A code to be typed on another device."""
        ...

    async def poll_device(self, device_auth_id: str, user_code: str) -> Login | NotYet:
        """The login, once somebody has typed the code."""
        ...


class CallbackPort(Protocol):
    """Where browsers come back to."""

    async def open(self) -> str:
        """Listens from now on; why it cannot, in a sentence, or nothing."""
        ...

    async def close(self) -> None:
        """Listens no more."""
        ...
