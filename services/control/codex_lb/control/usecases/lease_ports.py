"""What the verbs need of soft state about turns: who holds which slot, and what ties conversations to accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from msgspec import Struct

from codex_lb.control.domain.continuity import Affinity, Failure
from codex_lb.control.domain.ids import AccountId, LeaseId, ReplicaId
from codex_lb.control.domain.lease import Anchor, Lease
from codex_lb.control.domain.limit import Limit
from codex_lb.control.domain.spending import Spent
from codex_lb.control.usecases.limit_ports import BudgetUse, KeyUse, Reserving


class Terms(Struct, frozen=True):
    """What a turn's API key allows it."""

    revision: int = 0  # of the key as it was read
    slots: int = 0  # turns at once; 0 for no limit
    reserving: tuple[Reserving, ...] = ()


FREE = Terms()


@dataclass(frozen=True, slots=True)
class NoSlot:
    """The slots of the account, or of the API key, are taken; the counts say which."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """The first limit that has no room, and how it stands."""

    limit_id: str
    use: BudgetUse


@dataclass(frozen=True, slots=True)
class Uncounted:
    """Nobody knows what is used of a limit of the key; it must be counted first."""


@dataclass(frozen=True, slots=True)
class Outdated:
    """The API key was changed by another control."""


Taking: TypeAlias = Lease | NoSlot | Shortfall | Uncounted | Outdated


class Ending(Struct, frozen=True):
    """A lease that has ended, and what it counts for in the limits of its API key."""

    lease: Lease
    is_final: bool = True  # False: its gateway vanished, and may come back with the truth
    spent: Spent | None = None  # None: nothing that a limit could count
    limits: tuple[Limit, ...] = ()  # all of its key's
    revision: int = 0  # of the key that has them


class Leases(Protocol):
    """Who holds which slot right now, and what of its API key's limits. Soft: rebuilt from what gateways announce."""

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

    async def take(
        self, lease: Lease, owner: ReplicaId, *, slots: int, create_slots: int = 0, terms: Terms = FREE
    ) -> Taking:
        """Takes a slot of its account (0: no limit) and all that the terms say, or nothing at all.

        The lease as it is held has its reservation, and is granted inside the windows in which that counts. Raises
        CoordinationUnavailableError when nobody can tell; whatever was taken then, it will be free again.
        """
        ...

    async def begun(self, lease_ids: Sequence[LeaseId]) -> None:
        """Upstream has begun to answer these: they count as running, no longer as being created."""
        ...

    async def reconcile(self, owner: ReplicaId, held: Sequence[Lease]) -> list[Lease]:
        """Takes a gateway's word for all that it holds, whatever the slots.

        What it names and is unknown is remembered; what it does not name (a grant that was lost on the way) is freed
        and returned. Its reservation is given back a little later: its settlement may be under way. Where that cannot
        be done now, listeners of `on_loss` are told as soon as it can.
        """
        ...

    async def end(self, lease_id: LeaseId, *, epoch: int) -> Lease | None:
        """Nothing was done under it: frees all that it has, now or as soon as it can be. None when it is not held."""
        ...

    async def settle(self, endings: Sequence[Ending], *, now: datetime) -> Sequence[KeyUse]:
        """Frees slots, and puts what leases used in the place of what they had reserved; how their keys stand then.

        Each once, however often it comes; but the truth replaces what was charged by guess. What cannot be done now is
        done as soon as it can be.
        """
        ...

    async def recorded(self, ended: Iterable[tuple[LeaseId, bool]], *, now: datetime) -> None:
        """The ledger has these settled leases, each with whether that is final."""
        ...

    async def renew(self, owner: ReplicaId, *, now: datetime) -> bool:
        """A gateway was heard: its leases live for another TTL. False when it was not heard since it last lapsed.

        Then it must announce what it holds. A turn of its own that was waiting may have been granted a slot meanwhile:
        that grant is held, and makes the gateway no better known.
        """
        ...

    async def lapse(self, *, now: datetime) -> list[Lease]:
        """Removes and returns the leases of gateways that were silent for the TTL; to be called again and again.

        What is not told to be recorded is returned again after a while: whoever had it may have been killed.
        Where nobody called it for long, no gateway can have been heard either, so that time may not be counted.
        """
        ...


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

    async def note_failure(self, failure: Failure) -> None:
        """Upstream failed a turn."""
        ...

    async def failed_lately(self, keys: Sequence[bytes]) -> tuple[AccountId, ...]:
        """The accounts on which upstream failed this conversation a moment ago, the latest last."""
        ...

    async def failing(self) -> tuple[AccountId, ...]:
        """The accounts on which upstream failed any turn within seconds, the latest last."""
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
