"""Leases that one control has settled, until the ledger has them, and a while longer.

Redis counts only what ends under a key with limits. A limit that is made later counts what its window has seen: most of
it by the ledger, and what ended in this very moment by what is remembered here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from codex_lb.control.domain.ids import ApiKeyId, LeaseId
from codex_lb.control.usecases.lease_ports import Ending

TOLD_AGAIN = timedelta(seconds=20)  # well before Redis takes a lease for forgotten that a slow database keeps waiting
KEPT = timedelta(seconds=20)  # after the ledger has it; all controls hear of a new limit within one


@dataclass(slots=True)
class Settled:
    """A lease that has ended."""

    ending: Ending
    is_counted: bool  # by Redis too
    told_at: datetime


class Unstored:
    """All of one control's."""

    def __init__(self) -> None:
        self._settled: dict[tuple[LeaseId, bool], Settled] = {}  # by lease and whether it is final
        self._stored: deque[tuple[datetime, Ending]] = deque()  # a while ago, and not counted by Redis

    def add(self, endings: Iterable[Ending], now: datetime) -> None:
        """These have ended, and are about to be told to Redis."""
        for ending in endings:
            if ending.spent is not None or not ending.is_final:
                is_counted = bool(ending.limits) or not ending.is_final
                self._settled[ending.lease.lease_id, ending.is_final] = Settled(ending, is_counted, now)

    def counted(self, ending: Ending) -> None:
        """Redis counts this one, for its key has limits that were not known here."""
        settled = self._settled.get((ending.lease.lease_id, ending.is_final))
        if settled is not None:
            settled.is_counted = True

    def store(self, ended: Iterable[tuple[LeaseId, bool]], now: datetime) -> list[Ending]:
        """The ledger has these; those of them that Redis counts."""
        while self._stored and self._stored[0][0] <= now:
            self._stored.popleft()
        counted: list[Ending] = []
        for one in ended:
            settled = self._settled.pop(one, None)
            if settled is not None and settled.is_counted:
                counted.append(settled.ending)
            elif settled is not None:
                self._stored.append((now + KEPT, settled.ending))
        return counted

    def uncounted(self, api_key_id: ApiKeyId) -> tuple[Sequence[Ending], Sequence[Ending]]:
        """Those of a key that Redis does not count: which the ledger may not have, and which it has."""
        unstored = (one.ending for one in self._settled.values() if not one.is_counted)
        stored = (ending for _, ending in self._stored)
        return [x for x in unstored if x.lease.api_key_id == api_key_id], [
            x for x in stored if x.lease.api_key_id == api_key_id
        ]

    def overdue(self, now: datetime) -> list[Ending]:
        """What Redis counts and would take for forgotten soon."""
        overdue = [one for one in self._settled.values() if one.is_counted and one.told_at <= now - TOLD_AGAIN]
        for one in overdue:
            one.told_at = now
        return [one.ending for one in overdue]

    def all(self) -> list[Ending]:
        """What the ledger may not have."""
        return [one.ending for one in self._settled.values()]
