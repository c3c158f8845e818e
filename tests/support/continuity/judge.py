"""Whether a conversation may fail twice running although an account could have served it. Pure but for what is looked up.

It may, where nobody could have known: each account that failed it the second time was well as far as anybody could tell,
and there the turn had to end, because its client held a part of the answer, or because three accounts had failed it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from codex_lb.control.coordination.failures import CONVERSATION_TTL_S
from codex_lb.control.domain.ids import ReplicaId
from codex_lb.gateway.turn.next_step import ACCOUNTS_MAX, LOGINS_MAX
from tests.support.continuity.accounts import Call, Cost

BEGUN_S, NOT_BEGUN_S = 60.0, 10.0  # silences after which an account has failed a client that hangs up


class Excuse(StrEnum):
    """Why it may."""

    BROKE_OFF = "broke off"  # an answer, in the client's hands, on an account that had failed nobody
    DROWNED = "drowned"  # three accounts failed the turn, of which none had failed anybody
    SILENT = "silent"  # so was the account, which had failed nobody, until the client had enough of it
    # The gateway that saw the first failure died before it could tell, or so did control after it; or it was longer ago than
    # control remembers, and what came in between (its gateway died, or its client left) nobody told of as a failure.
    FORGOTTEN = "forgotten"


@dataclass
class Asked:
    """One request of a client's that was failed."""

    began: float
    ended: float
    calls: list[Call]
    gateway: ReplicaId
    has_hung_up: bool = False

    @property
    def accounts(self) -> set[str]:
        """Those that failed it."""
        return {call.account for call in self.calls if not call.is_completed}

    @property
    def is_failure(self) -> bool:
        """A client that hangs up was failed if nothing had come for long."""
        if not self.has_hung_up:
            return True
        last = self.calls[-1] if self.calls else None
        if last is None or last.is_completed:
            return False
        return self.ended - last.heard_at >= (BEGUN_S if last.has_begun else NOT_BEGUN_S)


def excuse(
    first: Asked,
    second: Asked,
    *,
    was_failing: Callable[[Call], bool],
    is_forgotten: Callable[[float, ReplicaId], bool],
) -> Excuse | None:
    """Why the second failure could not be helped; None when it could.

    `was_failing`: whether the account was known to fail when it was asked; `is_forgotten`: whether control cannot know what
    a gateway saw at an instant.
    """
    if not second.calls:
        return None  # it was refused although somebody could have served it
    asked_first = {call.account: call for call in reversed(second.calls)}
    if any(was_failing(call) for call in asked_first.values()):
        return None
    if first.accounts & second.accounts:
        # A client that is failed tries again sooner.
        is_long_ago = second.began - first.ended > CONVERSATION_TTL_S
        return Excuse.FORGOTTEN if is_long_ago or is_forgotten(first.ended, first.gateway) else None
    if second.calls[-1].is_visible:
        return Excuse.BROKE_OFF
    if burnt(second) >= ACCOUNTS_MAX:
        return Excuse.DROWNED
    return Excuse.SILENT if second.has_hung_up else None


def burnt(asked: Asked) -> int:
    """Accounts that its budget paid for: limits cost nothing, nor do the first rejected logins."""
    costs = Counter({call.account: call.cost for call in asked.calls}.values())
    return costs[Cost.ACCOUNT] + max(0, costs[Cost.LOGIN] - LOGINS_MAX)
