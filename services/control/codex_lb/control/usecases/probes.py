"""The probes that are under way: asked for by operators, sent by a worker, each account's one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.probe import ProbeReport
from codex_lb.control.domain.refresh import TICKET_TTL_S, Task, TicketKind
from codex_lb.kit.clock import Clock

KEPT = timedelta(seconds=TICKET_TTL_S)  # a worker that took its ticket and died is not waited for any longer


@dataclass(slots=True)
class Probe:
    """One that was asked for."""

    model: str
    asked_at: datetime
    is_taken: asyncio.Event = field(default_factory=asyncio.Event)  # a worker has the ticket
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)
    report: ProbeReport | None = None


class Probes:
    """By account. In memory alone: after a restart of control nobody waits for the answer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._of: dict[AccountId, Probe] = {}

    def ask(self, account_id: AccountId, *, model: str) -> Probe:
        """The probe that is under way, or else a new one with this model."""
        self._forget_old()
        return self._of.setdefault(account_id, Probe(model, self._clock.now()))

    def due(self) -> Mapping[Task, datetime]:
        """All that are under way, due since they were asked for."""
        self._forget_old()
        return {Task(TicketKind.PROBE, account_id): probe.asked_at for account_id, probe in self._of.items()}

    def take(self, account_id: AccountId) -> str:
        """A worker takes the ticket; the model it is to ask."""
        probe = self._of.get(account_id)
        if probe is None:
            return ""
        probe.is_taken.set()
        return probe.model

    def end(self, account_id: AccountId, report: ProbeReport) -> None:
        """Tells all who wait."""
        probe = self._of.pop(account_id, None)
        if probe is not None:
            probe.report = report
            probe.has_ended.set()

    def _forget_old(self) -> None:
        before = self._clock.now() - KEPT
        self._of = {account_id: probe for account_id, probe in self._of.items() if probe.asked_at > before}
