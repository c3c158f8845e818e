"""The waits of a running control. Nobody sets them; tests shorten them."""

from __future__ import annotations

from dataclasses import dataclass

from codex_lb.control.domain.refresh import TICKET_TTL_S
from codex_lb.control.usecases.rotate_keys import RETIRED_AFTER_S


@dataclass(frozen=True, slots=True)
class Timing:
    """How long what lasts, and how often what is done, in seconds."""

    # A dead gateway's slots return within ten seconds, the tick that finds it included; four heartbeats may get lost before.
    lease_ttl_s: float = 8.5
    heartbeat_period_s: float = 2.0
    # How long a restarted control waits for gateways to tell what they hold before it grants: they reconnect within
    # a second; a restart should cost new turns little more.
    reannounce_grace_s: float = 3.0
    redis_deadline_s: float = 0.1  # a healthy server in the same network answers in a hundredth of it
    ticket_ttl_s: float = TICKET_TTL_S
    tick_s: float = 1.0  # how often lapsed leases are looked for and the pool's state is told
    alert_period_s: float = 10.0  # how often it is looked for what is worth an alert
    retention_period_s: float = 3600.0  # how often lines past their retention are looked for
    key_retired_after_s: float = RETIRED_AFTER_S


ORDINARY = Timing()
