"""Where upstream failed turns a moment ago: conversations by account, and accounts whosever turn it was. Bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta

from codex_lb.control.domain.ids import AccountId
from codex_lb.kit.clock import Clock

CONVERSATIONS_MAX = 10_000  # that failed within the minute; more is an outage, and nobody is better off elsewhere
# Longer than clients take to try again; then the account that knows the conversation is best again.
CONVERSATION_TTL_S = 60.0
ACCOUNT_TTL_S = 15.0  # longer than a burst of trouble lasts, and short: an account that is kept away from is no use
ACCOUNTS_MAX = 64  # failing at once, the latest; more is an outage


class Failures:
    """What is remembered of them, and for how long."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._conversations: OrderedDict[bytes, dict[AccountId, datetime]] = OrderedDict()  # the oldest first
        self._accounts: OrderedDict[AccountId, datetime] = OrderedDict()  # the oldest first

    def note(self, key: bytes, account_ids: Sequence[AccountId]) -> None:
        """A turn of the conversation failed on these, on the last of them just now. No key: of one that nobody knows."""
        now = self._clock.now()
        for account_id in account_ids[-1:]:
            self._accounts[account_id] = now
            self._accounts.move_to_end(account_id)
        if len(self._accounts) > ACCOUNTS_MAX:
            self._accounts.popitem(last=False)
        if key:
            self._note_conversation(key, account_ids, now)

    def of_conversation(self, keys: Sequence[bytes]) -> tuple[AccountId, ...]:
        """The accounts that failed a conversation that is known by any of these, the latest last."""
        since = self._clock.now() - timedelta(seconds=CONVERSATION_TTL_S)
        found: dict[AccountId, datetime] = {}
        for key in keys:
            for account_id, at in self._conversations.get(key, {}).items():
                found[account_id] = max(at, found.get(account_id, at))
        return tuple(sorted((account_id for account_id, at in found.items() if at >= since), key=found.__getitem__))

    def of_anybody(self) -> tuple[AccountId, ...]:
        """The accounts that failed any turn within seconds, the latest last."""
        since = self._clock.now() - timedelta(seconds=ACCOUNT_TTL_S)
        return tuple(account_id for account_id, at in self._accounts.items() if at >= since)

    def _note_conversation(self, key: bytes, account_ids: Sequence[AccountId], now: datetime) -> None:
        failures = self._conversations.setdefault(key, {})
        for account_id in account_ids:
            failures.pop(account_id, None)  # the latest stands last
            failures[account_id] = now
        self._conversations.move_to_end(key)
        while len(self._conversations) > CONVERSATIONS_MAX:
            self._conversations.popitem(last=False)
