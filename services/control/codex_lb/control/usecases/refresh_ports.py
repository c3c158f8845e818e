"""What the verbs need of soft state about refresh work: what is due, and who has it in hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from codex_lb.control.domain.ids import AccountId, TicketId, WorkerId
from codex_lb.control.domain.refresh import Task, Ticket, TicketKind


class Tickets(Protocol):
    """Which refresh work is due, and which worker holds the ticket for it. Soft: planned anew after a restart."""

    async def plan(self, due: Mapping[Task, datetime], *, gone: Collection[Task] = ()) -> None:
        """Adds what is new, due at its instant, and forgets what is gone.

        A known one keeps its instant, except those of MOVING_KINDS.
        """
        ...

    async def hurry(self, task: Task, *, now: datetime) -> None:
        """Makes a task due at once. A ticket that is out for it ends: what it would tell is outdated."""
        ...

    async def due(self, kinds: Collection[TicketKind], *, until: datetime, now: datetime) -> Sequence[Task]:
        """The tasks that are due until then and in nobody's hands, the most urgent first.

        Usage comes behind the rest: there is most of it, and nobody waits for all of it.
        """
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
