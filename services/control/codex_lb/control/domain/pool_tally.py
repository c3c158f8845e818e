"""The state of the pool, added up account by account: what changed is counted anew, and telling costs the same among ten
accounts and among ten thousand.

Pure: holds no clock. Shares and weights are summed up as whole numbers, so that nothing drifts however often they change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from codex_lb.control.domain.account import AccountStatus, capacity
from codex_lb.control.domain.deadlines import Deadlines
from codex_lb.control.domain.evidence import Standing, UsageSeen
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.policy import PoolState, PoolWindow
from codex_lb.control.domain.window import Window, WindowKind

OUT_OF_SERVICE = frozenset({AccountStatus.PAUSED, AccountStatus.REAUTH_REQUIRED, AccountStatus.DEACTIVATED})
STEPS_PER_PERCENT = 1_000_000
STEPS_PER_CREDIT = 1_000


class Share(Struct, frozen=True):
    """What one account adds to the state of the pool."""

    plan: str
    standing: Standing
    usage: Mapping[WindowKind, UsageSeen]


class PoolTally:
    """Everybody's share. Whoever keeps it puts an account anew when something about it changed, or its instant came."""

    def __init__(self) -> None:
        self._is_ready: dict[AccountId, bool] = {}
        self._ready = 0
        self._windows = {kind: WindowTally() for kind in WindowKind}
        self._due: Deadlines[AccountId] = Deadlines()  # when time alone changes a share

    def put(self, account_id: AccountId, share: Share, *, now: datetime) -> None:
        """Counts an account, or what changed about it."""
        self.remove(account_id)
        self._is_ready[account_id] = share.standing.is_ready
        self._ready += share.standing.is_ready
        instants = [share.standing.until]
        if share.standing.status not in OUT_OF_SERVICE:  # others lend no quota
            for kind, seen in share.usage.items():
                self._windows[kind].put(account_id, capacity(share.plan, kind), seen.window, now)
                instants.append(seen.window.resets_at)
        self._due.set(account_id, min((at for at in instants if at is not None and at > now), default=None))

    def remove(self, account_id: AccountId) -> None:
        """Counts an account no longer, if it was counted."""
        was_ready = self._is_ready.pop(account_id, None)
        if was_ready is None:
            return
        self._ready -= was_ready
        for window in self._windows.values():
            window.remove(account_id)
        self._due.set(account_id, None)

    def passed(self, now: datetime) -> list[AccountId]:
        """Accounts whose share time alone has changed; they are to be put anew."""
        return self._due.passed(now)

    def state(self) -> PoolState:
        """The pool in a few numbers."""
        windows = (tally.state(kind) for kind, tally in self._windows.items())
        return PoolState(self._ready, len(self._is_ready), tuple(window for window in windows if window is not None))


class Counted(Struct, frozen=True):
    """What of an account's window is in the sums."""

    weight: int
    used: int
    length_s: float


class WindowTally:
    """One window over all accounts, each weighted by its plan's capacity."""

    def __init__(self) -> None:
        self._counted: dict[AccountId, Counted] = {}
        self._weight = 0
        self._used = 0
        self._weighted = 0
        self._lengths: Counter[float] = Counter()
        self._resets: Deadlines[AccountId] = Deadlines()

    def put(self, account_id: AccountId, credits_: float, window: Window, now: datetime) -> None:
        """Counts an account that is not counted."""
        used = round(window.used_percent_at(now) * STEPS_PER_PERCENT)
        one = Counted(round(credits_ * STEPS_PER_CREDIT), used, window.length_s)
        self._counted[account_id] = one
        self._add(one, 1)
        is_to_come = window.resets_at is not None and window.resets_at > now
        self._resets.set(account_id, window.resets_at if is_to_come else None)

    def remove(self, account_id: AccountId) -> None:
        """Counts an account no longer, if it was counted."""
        one = self._counted.pop(account_id, None)
        if one is not None:
            self._add(one, -1)
            self._resets.set(account_id, None)

    def state(self, kind: WindowKind) -> PoolWindow | None:
        """None while nobody has shown it. Plans without a known capacity in it still show how full it is."""
        if not self._counted:
            return None
        used = self._weighted / self._weight if self._weight else self._used / len(self._counted)
        return PoolWindow(
            kind,
            used / STEPS_PER_PERCENT,
            max(self._lengths),
            self._resets.first,
            self._weight / STEPS_PER_CREDIT,
        )

    def _add(self, one: Counted, sign: int) -> None:
        self._weight += sign * one.weight
        self._used += sign * one.used
        self._weighted += sign * one.weight * one.used
        self._lengths[one.length_s] += sign
        if not self._lengths[one.length_s]:
            del self._lengths[one.length_s]
