"""Which gateways are there, for people who ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from codex_lb.control.domain.ids import ReplicaId
from codex_lb.kit.clock import Clock

REMEMBERED = timedelta(minutes=1)  # how long a silent gateway is still shown


@dataclass(slots=True)
class Gateway:
    """A gateway that was heard."""

    replica_id: ReplicaId
    version: str
    heard_at: datetime


class Gateways:
    """Everybody who was heard lately."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[ReplicaId, Gateway] = {}

    def attached(self, replica_id: ReplicaId, version: str) -> None:
        """A gateway opened its stream."""
        self._known[replica_id] = Gateway(replica_id, version, self._clock.now())

    def heard(self, replica_id: ReplicaId) -> None:
        """A gateway sent a heartbeat."""
        if gateway := self._known.get(replica_id):
            gateway.heard_at = self._clock.now()

    def recent(self) -> list[Gateway]:
        """Those heard within the last minute."""
        since = self._clock.now() - REMEMBERED
        self._known = {k: g for k, g in self._known.items() if g.heard_at >= since}
        return list(self._known.values())
