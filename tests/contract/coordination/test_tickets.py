"""What every adapter of the Tickets port must do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import count

import pytest

from codex_lb.control.coordination.scripts import Scripts
from codex_lb.control.coordination.shared_tickets import SharedTickets
from codex_lb.control.coordination.tickets import MemoryTickets
from codex_lb.control.domain.ids import AccountId, TicketId, WorkerId
from codex_lb.control.domain.refresh import Task, Ticket, TicketKind
from codex_lb.control.errors import StaleEpochError
from codex_lb.control.usecases.refresh_ports import Tickets
from tests.support.clock import NOON, FakeClock
from tests.support.redis_server import RedisServer, Told, open_scripts, redis_prefix, redis_server

__all__ = ["redis_prefix", "redis_server"]

A, B = Task(TicketKind.USAGE, "a"), Task(TicketKind.USAGE, "b")
PLUS = Task(TicketKind.MODELS, "plus")
USAGE = [TicketKind.USAGE]


@pytest.fixture(params=["memory", "redis"])
async def tickets(
    request: pytest.FixtureRequest, clock: FakeClock, redis_server: RedisServer, redis_prefix: str
) -> AsyncIterator[Tickets]:
    """The port, once per adapter; tickets live 60 s."""
    if request.param == "memory":
        ids = count(1)
        yield MemoryTickets(term=1, new_ticket_id=lambda: f"ticket-{next(ids)}", ttl_s=60.0)
    else:
        async with open_scripts(redis_server, clock, redis_prefix) as scripts:
            yield shared(scripts, term=1)


def shared(scripts: Scripts, *, term: int) -> SharedTickets:
    """Those of one control among several."""
    ids = count(1)
    return SharedTickets(scripts, Told(), term=term, new_ticket_id=lambda: f"ticket-{term}-{next(ids)}", ttl_s=60.0)


@pytest.fixture
def clock() -> FakeClock:
    """The test's time."""
    return FakeClock()


async def test_what_is_due_is_offered_the_longest_overdue_first(tickets: Tickets) -> None:
    await tickets.plan({A: _at(2), B: _at(1), PLUS: _at(0), Task(TicketKind.USAGE, "later"): _at(60)})

    assert await tickets.due(USAGE, until=_at(5), now=NOON) == [B, A]
    assert await tickets.next_due(USAGE, now=NOON) == _at(1)


async def test_usage_comes_behind_the_rest_however_long_it_is_overdue(tickets: Tickets) -> None:
    await tickets.plan({A: _at(0), B: _at(1), PLUS: _at(2)})

    assert await tickets.due([TicketKind.USAGE, TicketKind.MODELS], until=_at(5), now=NOON) == [PLUS, A, B]


async def test_planning_again_keeps_what_is_planned_and_forgets_what_is_gone(tickets: Tickets) -> None:
    await tickets.plan({A: _at(1), B: _at(2)})

    await tickets.plan({A: _at(99), PLUS: _at(3)}, gone=[B])

    assert await tickets.due(list(TicketKind), until=_at(10), now=NOON) == [PLUS, A]


async def test_a_task_that_moves_takes_its_new_instant_also_while_a_lapsed_ticket_is_out_for_it(
    tickets: Tickets, clock: FakeClock
) -> None:
    moving = Task(TicketKind.ROTATION, "a")
    await tickets.plan({moving: NOON})
    await tickets.plan({moving: _at(5)})
    moved = await tickets.next_due([TicketKind.ROTATION], now=NOON)
    assert await _claim(tickets, moving, NOON) is not None
    clock.advance(60)
    assert await tickets.out(TicketKind.ROTATION, now=clock.now()) == 0

    await tickets.plan({moving: _at(70)})

    assert moved == _at(5)
    assert await tickets.next_due([TicketKind.ROTATION], now=clock.now()) == _at(70)


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


async def test_a_task_is_in_one_workers_hands_whichever_control_is_asked_and_rests_for_all_when_it_is_done(
    redis_server: RedisServer, redis_prefix: str, clock: FakeClock
) -> None:
    async with open_scripts(redis_server, clock, redis_prefix) as scripts:
        one, other = shared(scripts, term=1), shared(scripts, term=2)
        for tickets in (one, other):
            await tickets.plan({A: NOON})

        ticket = await _claim(one, A, NOON)
        assert ticket is not None
        while_it_is_out = await _claim(other, A, NOON)
        await one.end(ticket, next_due_at=_at(100))
        clock.advance(80)
        while_it_rests = await _claim(other, A, clock.now())
        clock.advance(20)
        await other.plan({A: clock.now()})

        assert (while_it_is_out, while_it_rests) == (None, None)
        assert await other.next_due(USAGE, now=clock.now()) <= clock.now()
        assert await _claim(other, A, clock.now()) is not None


async def test_a_ticket_ends_when_another_control_hurries_its_task(
    redis_server: RedisServer, redis_prefix: str, clock: FakeClock
) -> None:
    async with open_scripts(redis_server, clock, redis_prefix) as scripts:
        one, other = shared(scripts, term=1), shared(scripts, term=2)
        await one.plan({A: NOON})
        ticket = await _claim(one, A, NOON)
        assert ticket is not None

        await other.hurry(A, now=NOON)
        newer = await _claim(other, A, NOON)

        assert newer is not None
        with pytest.raises(StaleEpochError):
            await one.held(ticket.ticket_id, epoch=ticket.epoch, now=NOON)


async def _claim(tickets: Tickets, task: Task, now: datetime) -> Ticket | None:
    return await tickets.claim(task, WorkerId("w"), account_id=AccountId("a"), now=now)


def _at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)
