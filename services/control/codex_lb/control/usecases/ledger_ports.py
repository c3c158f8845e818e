"""What was spent, as the verbs need it of the database: its rows, and the writer that commits them in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from codex_lb.control.domain.evidence import Evidence
from codex_lb.control.domain.ids import AccountId, LeaseId, TurnId
from codex_lb.control.domain.lease import Anchor, Settlement, TurnReport
from codex_lb.control.domain.simulation import RecordedLease


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
