"""Refresh work of a single control replica, in its memory: when each task is due and who holds its ticket."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count

from codex_lb.control.domain.deadlines import Deadlines
from codex_lb.control.domain.ids import AccountId, TicketId, WorkerId
from codex_lb.control.domain.lease import epoch_of
from codex_lb.control.domain.refresh import MOVING_KINDS, TICKET_TTL_S, Task, Ticket, TicketKind
from codex_lb.control.errors import StaleEpochError


@dataclass(slots=True)
class Slot:
    """One task: when it is due, and the ticket that is out for it."""

    task: Task
    due_at: datetime
    ticket: Ticket | None = None

    def is_free(self, now: datetime) -> bool:
        """Whether nobody holds a ticket that has not lapsed."""
        return self.ticket is None or self.ticket.expires_at <= now


class MemoryTickets:
    """The Tickets port for one control replica. Every method runs to its end without waiting, so each is atomic."""

    def __init__(self, *, term: int, new_ticket_id: Callable[[], str], ttl_s: float = TICKET_TTL_S) -> None:
        self._term = term
        self._new_ticket_id = new_ticket_id
        self._ttl = timedelta(seconds=ttl_s)
        self._counter = count(1)
        self._slots: dict[Task, Slot] = {}
        # By subject: what is free by when it is due, and what is in somebody's hands by when that lapses.
        self._free: dict[TicketKind, Deadlines[str]] = {kind: Deadlines() for kind in TicketKind}
        self._out: dict[TicketKind, Deadlines[str]] = {kind: Deadlines() for kind in TicketKind}
        self._task_of: dict[TicketId, Task] = {}

    async def plan(self, due: Mapping[Task, datetime], *, gone: Collection[Task] = ()) -> None:
        """Adds what is new, moves what moves, forgets what is gone."""
        for task in gone:
            if slot := self._slots.pop(task, None):
                self._take_back(slot)
                self._free[task.kind].set(task.subject, None)
        for task, due_at in due.items():
            slot = self._slots.get(task)
            if slot is None:
                slot = self._slots[task] = Slot(task, due_at)
            elif task.kind not in MOVING_KINDS:
                continue
            slot.due_at = due_at
            if task.subject not in self._out[task.kind]:
                self._free[task.kind].set(task.subject, due_at)

    async def hurry(self, task: Task, *, now: datetime) -> None:
        """Due at once, for whoever asks next."""
        if known := self._slots.get(task):
            self._take_back(known)
        self._slots[task] = Slot(task, now)
        self._free[task.kind].set(task.subject, now)

    async def due(self, kinds: Collection[TicketKind], *, until: datetime, now: datetime) -> Sequence[Task]:
        """Due and free, the longest overdue first, usage behind the rest."""
        self._lapse(now)
        free = [(due_at, Task(kind, subject)) for kind in kinds for due_at, subject in self._free[kind].until(until)]
        return [task for _, task in sorted(free, key=lambda one: (one[1].kind is TicketKind.USAGE, one[0]))]

    async def next_due(self, kinds: Collection[TicketKind], *, now: datetime) -> datetime | None:
        """The earliest instant among the free ones."""
        self._lapse(now)
        return min((first for kind in kinds if (first := self._free[kind].first) is not None), default=None)

    async def claim(self, task: Task, worker_id: WorkerId, *, account_id: AccountId, now: datetime) -> Ticket | None:
        """Hands out a ticket."""
        slot = self._slots.get(task)
        if slot is None or not slot.is_free(now):
            return None
        self._take_back(slot)
        ticket = Ticket(
            ticket_id=TicketId(self._new_ticket_id()),
            epoch=epoch_of(self._term, next(self._counter)),
            task=task,
            account_id=account_id,
            worker_id=worker_id,
            due_at=slot.due_at,
            expires_at=now + self._ttl,
        )
        slot.ticket = ticket
        self._free[task.kind].set(task.subject, None)
        self._out[task.kind].set(task.subject, ticket.expires_at)
        self._task_of[ticket.ticket_id] = task
        return ticket

    async def out(self, kind: TicketKind, *, now: datetime) -> int:
        """How many are in somebody's hands."""
        self._lapse(now)
        return len(self._out[kind])

    async def held(self, ticket_id: TicketId, *, epoch: int, now: datetime) -> Ticket:
        """The ticket, while it is the newest of its task and has not lapsed."""
        task = self._task_of.get(ticket_id)
        ticket = self._slots[task].ticket if task is not None else None
        if ticket is None or ticket.epoch != epoch or ticket.expires_at <= now:
            raise StaleEpochError("This ticket has ended or lapsed; what it found is not taken over.")
        return ticket

    async def end(self, ticket: Ticket, *, next_due_at: datetime) -> None:
        """Makes the task free again."""
        slot = self._slots.get(ticket.task)
        if slot is None or slot.ticket is None or slot.ticket.epoch != ticket.epoch:
            return
        self._take_back(slot)
        slot.due_at = next_due_at
        self._free[ticket.task.kind].set(ticket.task.subject, next_due_at)

    def _lapse(self, now: datetime) -> None:
        """What nobody reported in time is free again."""
        for kind, out in self._out.items():
            for subject in out.passed(now):
                self._free[kind].set(subject, self._slots[Task(kind, subject)].due_at)

    def _take_back(self, slot: Slot) -> None:
        if slot.ticket is not None:
            self._task_of.pop(slot.ticket.ticket_id, None)
            self._out[slot.task.kind].set(slot.task.subject, None)
            slot.ticket = None
