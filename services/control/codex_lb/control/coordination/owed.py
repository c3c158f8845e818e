"""What Redis is to be told, or may have to be told again: ends of leases, and that the ledger has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from codex_lb.control.domain.ids import ApiKeyId, LeaseId
from codex_lb.control.usecases.lease_ports import Ending

OWED_MAX = 10_000  # beyond, everybody begins anew: with what gateways announce and the ledger holds


@dataclass(frozen=True, slots=True)
class Plain:
    """A lease under which nothing was done, with its fence."""

    lease_id: LeaseId
    epoch: int


@dataclass
class Owed:
    """All of one control's."""

    plain: dict[LeaseId, Plain] = field(default_factory=dict)
    settled: dict[tuple[LeaseId, bool], Ending] = field(default_factory=dict)  # by lease and whether it is final
    recorded: dict[tuple[LeaseId, bool], Ending] = field(default_factory=dict)
    begun: set[LeaseId] = field(default_factory=set)
    revisions: dict[ApiKeyId, int] = field(default_factory=dict)
    is_a_word: bool = False  # a gateway announced what it holds, and Redis could not be told
    is_everything: bool = False  # too much to remember

    def end(self, lease_id: LeaseId, epoch: int) -> None:
        """A lease may be held that nobody has."""
        self.plain[lease_id] = Plain(lease_id, epoch)
        self._bound()

    def settle(self, endings: Iterable[Ending]) -> None:
        """These have ended."""
        for ending in endings:
            self.settled[ending.lease.lease_id, ending.is_final] = ending
        self._bound()

    def record(self, endings: Iterable[Ending]) -> None:
        """The ledger has these."""
        for ending in endings:
            self.recorded[ending.lease.lease_id, ending.is_final] = ending
        self._bound()

    def _bound(self) -> None:
        if len(self.plain) + len(self.settled) + len(self.recorded) > OWED_MAX:
            for owed in (self.plain, self.settled, self.recorded):
                owed.clear()
            self.is_everything = True
