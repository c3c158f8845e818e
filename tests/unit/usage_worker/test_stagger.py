"""Work begins when control asked for, unless it could not end in time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from codex_lb.usage_worker.stagger import (
    CLAIM_WAIT_S_MAX,
    CLAIM_WAIT_S_MIN,
    is_too_late,
    wait_before_claim,
    wait_before_start,
)
from codex_lb.usage_worker.work import Credential, Ticket, TicketKind

readings = st.floats(0, 1000)


def a_ticket(*, starts_at: float, lapses_at: float) -> Ticket:
    return Ticket("t1", 1, TicketKind.USAGE, "acc_1", Credential("at", "", "", 1), starts_at, lapses_at)


def test_a_ticket_starts_when_control_asked_for_it() -> None:
    ticket = a_ticket(starts_at=107, lapses_at=160)

    assert wait_before_start(ticket, needs_s=15, now=100) == 7


def test_a_ticket_starts_at_once_when_its_time_has_come() -> None:
    ticket = a_ticket(starts_at=99, lapses_at=160)

    assert wait_before_start(ticket, needs_s=15, now=100) == 0


@given(readings, readings, st.floats(0, 60), readings)
def test_waiting_never_makes_a_ticket_too_late(starts_at: float, lapses_at: float, needs_s: float, now: float) -> None:
    ticket = a_ticket(starts_at=starts_at, lapses_at=lapses_at)

    wait_s = wait_before_start(ticket, needs_s=needs_s, now=now)

    assert wait_s >= 0
    assert not is_too_late(ticket, needs_s=needs_s, now=now + wait_s) or is_too_late(ticket, needs_s=needs_s, now=now)


@given(st.floats(allow_nan=False))
def test_control_is_asked_neither_in_a_tight_loop_nor_too_rarely(asked_for_s: float) -> None:
    assert CLAIM_WAIT_S_MIN <= wait_before_claim(asked_for_s) <= CLAIM_WAIT_S_MAX


@given(st.floats(CLAIM_WAIT_S_MIN, CLAIM_WAIT_S_MAX))
def test_control_is_asked_when_it_wants_to_be_within_the_bounds(asked_for_s: float) -> None:
    assert wait_before_claim(asked_for_s) == asked_for_s
