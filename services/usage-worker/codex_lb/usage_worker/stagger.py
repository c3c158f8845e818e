"""When a ticket's work begins and when to ask for more. Pure: readings of the clock come in as arguments."""

from __future__ import annotations

from codex_lb.usage_worker.work import Ticket

START_SLACK_S = 2.0  # for the way from waiting to running: a place among the running may not be free at once
CLAIM_WAIT_S_MIN = 0.2  # a control that answers "at once" must not be asked in a tight loop
CLAIM_WAIT_S_MAX = 5.0  # a ticket that becomes urgent meanwhile (a login was added) waits no longer than this


def wait_before_start(ticket: Ticket, *, needs_s: float, now: float) -> float:
    """Seconds to wait so that accounts are spread over the period, yet never so long that the work runs out of time."""
    latest_start = ticket.lapses_at - needs_s - START_SLACK_S
    return max(0.0, min(ticket.starts_at, latest_start) - now)


def is_too_late(ticket: Ticket, *, needs_s: float, now: float) -> bool:
    """Whether work begun now could end after the ticket is somebody else's."""
    return now + needs_s > ticket.lapses_at


def wait_before_claim(asked_for_s: float) -> float:
    """Seconds until control is asked again: what it asked for, within bounds."""
    return min(max(asked_for_s, CLAIM_WAIT_S_MIN), CLAIM_WAIT_S_MAX)
