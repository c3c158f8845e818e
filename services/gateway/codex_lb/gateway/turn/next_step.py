"""Decides how a turn goes on after an attempt. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import assert_never

from codex_lb.gateway.outcome import SILENCE, Abandoned, Blame, Broken, Completed, Limited, Outcome, Rejected

ACCOUNTS_MAX = 3  # accounts one turn may burn before its client is told
# A limit costs nothing, and control never offers that account again: a turn may learn of several at once, as after a
# whole pool's windows ran out (ADR 0008).
LIMITS_MAX = 8
# Nor does a rejected login, but where they are many it is upstream that errs, and every account asked is taken for signed
# out until its token is renewed. With the others: fewer than make a storm.
LOGINS_MAX = 2
RETRIES_MAX = 2  # times the same account is asked again, over the whole turn
RETRY_FIRST_S = 0.2
RETRY_MAX_S = 2.0


class Step(Enum):
    """What to do next."""

    FINISH = auto()
    SAME_ACCOUNT = auto()
    NEXT_ACCOUNT = auto()
    GIVE_UP = auto()


@dataclass(frozen=True, slots=True)
class Budget:
    """What a turn may still spend on failures: one for the whole turn, so that retries do not multiply."""

    accounts_left: int = ACCOUNTS_MAX - 1
    retries_left: int = RETRIES_MAX
    limits_left: int = LIMITS_MAX
    logins_left: int = LOGINS_MAX

    def after(self, step: Step, outcome: Outcome) -> Budget:
        """What is left after a step that an outcome led to."""
        match step:
            case Step.NEXT_ACCOUNT if isinstance(outcome, Limited):
                return replace(self, limits_left=self.limits_left - 1)
            case Step.NEXT_ACCOUNT if self.logins_left and is_login(outcome):
                return replace(self, logins_left=self.logins_left - 1)
            case Step.NEXT_ACCOUNT:
                return replace(self, accounts_left=self.accounts_left - 1)
            case Step.SAME_ACCOUNT:
                return replace(self, retries_left=self.retries_left - 1)
            case Step.FINISH | Step.GIVE_UP:
                return self
            case _:
                assert_never(step)


def next_step(outcome: Outcome, *, is_visible: bool, budget: Budget, is_storm: bool = False) -> Step:
    """Moves a turn that nothing was shown of; never one that its client holds a part of.

    In a storm every account fails like this: no other one is asked.
    """
    match outcome:
        case Completed():
            return Step.FINISH
        case Abandoned():
            return Step.GIVE_UP
        case Limited() | Rejected() | Broken() if is_visible:
            return Step.GIVE_UP  # a second answer would contradict the first, or run a tool twice
        case Limited():
            return Step.NEXT_ACCOUNT if budget.limits_left else Step.GIVE_UP
        case Rejected(fault=fault):
            if is_storm or fault.blame is Blame.CLIENT:
                return Step.GIVE_UP
            return Step.NEXT_ACCOUNT if budget.logins_left and is_login(outcome) else _elsewhere(budget)
        case Broken(fault=fault):
            if budget.retries_left and fault.blame is not Blame.MODEL and fault.code != SILENCE:
                return Step.SAME_ACCOUNT
            # Our own network is the same whoever's login is used.
            return Step.GIVE_UP if is_storm or fault.blame is Blame.NETWORK else _elsewhere(budget)
        case _:
            assert_never(outcome)


def is_login(outcome: Outcome) -> bool:
    """Whether an account is told that its login is no good (any more)."""
    return isinstance(outcome, Rejected) and outcome.fault.blame is Blame.ACCOUNT


def _elsewhere(budget: Budget) -> Step:
    return Step.NEXT_ACCOUNT if budget.accounts_left else Step.GIVE_UP
