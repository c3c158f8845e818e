"""Where upstream failed turns a moment ago: conversations by account, and accounts whosever turn it was. Bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from codex_lb.control.domain.continuity import Failure
from codex_lb.control.domain.ids import AccountId
from codex_lb.kit.clock import Clock

CONVERSATIONS_MAX = 10_000  # that failed lately; more is an outage, and nobody is better off elsewhere
# Longer than clients take to try again; then the account that knows the conversation is best again.
CONVERSATION_TTL_S = 60.0
ACCOUNT_TTL_S = 15.0  # longer than a burst of trouble lasts, and short: an account that is kept away from is no use
ACCOUNTS_MAX = 64  # failing at once, the latest; more is an outage


@dataclass(frozen=True, slots=True)
class Attempt:
    """One that failed."""

    began: datetime
    ended: datetime


class Failures:
    """What is remembered of them, and for how long."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._conversations: OrderedDict[bytes, dict[AccountId, Attempt]] = OrderedDict()  # the oldest first
        self._accounts: OrderedDict[AccountId, Attempt] = OrderedDict()  # the oldest first

    def note(self, failure: Failure) -> None:
        """Keeps the latest of every account."""
        ended = self._clock.now() - timedelta(seconds=failure.ago_s)
        attempt = Attempt(ended - timedelta(seconds=failure.lasted_s), ended)
        keep_latest(self._accounts, failure.account_id, attempt)
        for key in failure.keys:
            keep_latest(self._conversations.setdefault(key, {}), failure.account_id, attempt)
            self._conversations.move_to_end(key)
        if len(self._accounts) > ACCOUNTS_MAX:
            self._accounts.popitem(last=False)
        while len(self._conversations) > CONVERSATIONS_MAX:
            self._conversations.popitem(last=False)

    def of_conversation(self, keys: Sequence[bytes]) -> tuple[AccountId, ...]:
        """The accounts that failed a conversation that is known by any of these, the latest last.

        An attempt may last for long: what was remembered when it began counts for as long as its own failure does.
        """
        failed: dict[AccountId, Attempt] = {}
        for key in keys:
            for account_id, attempt in self._conversations.get(key, {}).items():
                keep_latest(failed, account_id, attempt)
        if not failed:
            return ()  # as for most of them
        remembered = timedelta(seconds=CONVERSATION_TTL_S)
        since, found = self._clock.now() - remembered, list[AccountId]()
        for account_id in reversed(by_end(failed)):
            attempt = failed[account_id]
            if attempt.ended < since:
                break
            found.append(account_id)
            since = min(since, attempt.began - remembered)
        return tuple(reversed(found))

    def of_anybody(self) -> tuple[AccountId, ...]:
        """The accounts that failed any turn within seconds, the latest last."""
        since = self._clock.now() - timedelta(seconds=ACCOUNT_TTL_S)
        return tuple(account_id for account_id in by_end(self._accounts) if self._accounts[account_id].ended >= since)


def keep_latest(failed: dict[AccountId, Attempt], account_id: AccountId, attempt: Attempt) -> None:
    """Whatever is heard of first; of two at the same instant, what is heard of last."""
    known = failed.get(account_id)
    if known is None or attempt.ended >= known.ended:
        failed.pop(account_id, None)
        failed[account_id] = attempt


def by_end(failed: Mapping[AccountId, Attempt]) -> list[AccountId]:
    """The latest last."""
    return sorted(failed, key=lambda account_id: failed[account_id].ended)
