"""Tells an outage of upstream from the failure of accounts: many of them failing alike within seconds have one cause.

What one cause explains is no account's fault, and asking yet another account helps nobody: the turn stays where it is, and
no account is judged by it (failures reference 29 and 30). Limits are exempt: a pool's windows may well run out together.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace

from codex_lb.gateway.outcome import Blame, Broken, Completed, Outcome, Rejected

STORM_ACCOUNTS = 6  # failing alike; a turn burns three (of logins five), so no turn of bad luck makes a storm
STORM_S = 10.0
CODES_MAX = 100  # kinds of failure remembered; upstream has a dozen


@dataclass(slots=True)
class Storms:
    """What this gateway saw fail lately; one per process. An answer from anywhere ends a storm."""

    _failed: OrderedDict[str, dict[str, float]] = field(default_factory=OrderedDict)  # by code: account -> when

    def judged(self, outcome: Outcome, account_id: str, *, now: float) -> Outcome:
        """Takes an outcome in; the same, blamed on upstream if it is one of a storm."""
        match outcome:
            case Completed():
                self._failed.clear()
            case Rejected(fault=fault) | Broken(fault=fault) if fault.blame not in (Blame.CLIENT, Blame.US):
                self._note(fault.code, account_id, now)
                if fault.blame is Blame.ACCOUNT and self.is_storm(outcome, now=now):
                    return replace(outcome, fault=replace(fault, blame=Blame.UPSTREAM))
            case _:
                pass
        return outcome

    def is_storm(self, outcome: Outcome, *, now: float) -> bool:
        """Whether accounts fail like this everywhere."""
        if not isinstance(outcome, Rejected | Broken):
            return False
        return sum(at > now - STORM_S for at in self._failed.get(outcome.fault.code, {}).values()) >= STORM_ACCOUNTS

    def _note(self, code: str, account_id: str, now: float) -> None:
        accounts = self._failed.setdefault(code, {})
        accounts[account_id] = now
        for old in [account for account, at in accounts.items() if at <= now - STORM_S]:
            del accounts[old]
        if len(self._failed) > CODES_MAX:
            self._failed.popitem(last=False)
