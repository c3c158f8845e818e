"""What every adapter of the Tickets port must do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count

import pytest

from codex_lb.control.coordination.tickets import MemoryTickets
from codex_lb.control.domain.ids import AccountId, TicketId, WorkerId
from codex_lb.control.domain.refresh import Task, Ticket, TicketKind
from codex_lb.control.errors import StaleEpochError
from codex_lb.control.usecases.ports import Tickets
from tests.support.clock import NOON, FakeClock

A, B = Task(TicketKind.USAGE, "a"), Task(TicketKind.USAGE, "b")
PLUS = Task(TicketKind.MODELS, "plus")
USAGE = [TicketKind.USAGE]


def memory() -> Tickets:
    """The adapter for one replica; tickets live 60 s."""
    ids = count(1)
    return MemoryTickets(term=1, new_ticket_id=lambda: f"ticket-{next(ids)}", ttl_s=60.0)


@pytest.fixture(params=[memory], ids=["memory"])
def tickets(request: pytest.FixtureRequest) -> Tickets:
    """The port, once per adapter."""
    make: Callable[[], Tickets] = request.param
    return make()


@pytest.fixture
def clock() -> FakeClock:
    """The test's time."""
    return FakeClock()


async def test_what_is_due_is_offered_the_longest_overdue_first(tickets: Tickets) -> None:
    await tickets.plan({A: _at(2), B: _at(1), PLUS: _at(0), Task(TicketKind.USAGE, "later"): _at(60)})

    assert await tickets.due(USAGE, until=_at(5), now=NOON) == [B, A]
    assert await tickets.next_due(USAGE, now=NOON) == _at(1)


async def test_planning_again_keeps_what_is_planned_and_forgets_what_is_gone(tickets: Tickets) -> None:
    await tickets.plan({A: _at(1), B: _at(2)})

    await tickets.plan({A: _at(99), PLUS: _at(3)})

    assert await tickets.due(list(TicketKind), until=_at(10), now=NOON) == [A, PLUS]


async def test_a_task_is_in_one_workers_hands_at_a_time(tickets: Tickets) -> None:
    await tickets.plan({A: NOON})

    assert await _claim(tickets, A, NOON) is not None
    assert await _claim(tickets, A, NOON) is None
    assert await tickets.due(USAGE, until=NOON, now=NOON) == []


async def test_a_task_nobody_planned_cannot_be_claimed(tickets: Tickets) -> None:
    assert await _claim(tickets, A, NOON) is None


async def test_a_ticket_that_lapsed_is_given_away_with_a_higher_fence(tickets: Tickets, clock: FakeClock) -> None:
    await tickets.plan({A: NOON})
    first = await _claim(tickets, A, clock.now())

    clock.advance(60)
    second = await _claim(tickets, A, clock.now())

    assert first is not None
    assert second is not None
    assert second.epoch > first.epoch
    with pytest.raises(StaleEpochError):
        await tickets.held(first.ticket_id, epoch=first.epoch, now=clock.now())
    assert await tickets.held(second.ticket_id, epoch=second.epoch, now=clock.now()) == second


async def test_a_ticket_that_lapsed_is_nobodys_even_before_it_is_given_away(tickets: Tickets, clock: FakeClock) -> None:
    await tickets.plan({A: NOON})
    ticket = await _claim(tickets, A, clock.now())
    assert ticket is not None

    clock.advance(60)

    with pytest.raises(StaleEpochError):
        await tickets.held(ticket.ticket_id, epoch=ticket.epoch, now=clock.now())


async def test_an_ended_task_is_due_again_when_it_was_said_to_be(tickets: Tickets) -> None:
    await tickets.plan({A: NOON})
    ticket = await _claim(tickets, A, NOON)
    assert ticket is not None

    await tickets.end(ticket, next_due_at=_at(60))

    assert await tickets.next_due(USAGE, now=NOON) == _at(60)
    with pytest.raises(StaleEpochError):
        await tickets.held(ticket.ticket_id, epoch=ticket.epoch, now=NOON)


async def test_ending_an_old_ticket_leaves_the_new_one_alone(tickets: Tickets, clock: FakeClock) -> None:
    await tickets.plan({A: NOON})
    first = await _claim(tickets, A, clock.now())
    clock.advance(60)
    second = await _claim(tickets, A, clock.now())
    assert first is not None
    assert second is not None

    await tickets.end(first, next_due_at=_at(3600))

    assert await tickets.held(second.ticket_id, epoch=second.epoch, now=clock.now()) == second


async def test_a_hurried_task_is_due_at_once_and_what_is_out_for_it_is_outdated(tickets: Tickets) -> None:
    await tickets.plan({A: NOON})
    ticket = await _claim(tickets, A, NOON)
    assert ticket is not None

    await tickets.hurry(A, now=_at(1))
    await tickets.hurry(B, now=_at(2))

    assert await tickets.due(USAGE, until=_at(2), now=_at(2)) == [A, B]
    with pytest.raises(StaleEpochError):
        await tickets.held(ticket.ticket_id, epoch=ticket.epoch, now=_at(1))


async def test_a_wrong_fence_and_an_unknown_ticket_hold_nothing(tickets: Tickets) -> None:
    await tickets.plan({A: NOON})
    ticket = await _claim(tickets, A, NOON)
    assert ticket is not None

    for ticket_id, epoch in ((ticket.ticket_id, ticket.epoch + 1), (TicketId("unknown"), ticket.epoch)):
        with pytest.raises(StaleEpochError):
            await tickets.held(ticket_id, epoch=epoch, now=NOON)


async def _claim(tickets: Tickets, task: Task, now: datetime) -> Ticket | None:
    return await tickets.claim(task, WorkerId("w"), account_id=AccountId("a"), now=now)


def _at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)
