"""API keys for tests of the verbs, and what holds them to their limits, in memory."""

from __future__ import annotations

from codex_lb.control.coordination.budgets import MemoryBudgets
from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.ids import ApiKeyId
from codex_lb.control.domain.limit import Limit
from codex_lb.control.domain.settings import LiveSettings
from codex_lb.control.store.price_file import load_prices
from codex_lb.control.usecases.key_book import KeyBook
from codex_lb.control.usecases.key_limits import KeyLimits
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.policy_feed import PolicyFeed
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.ports import UnitOfWork
from codex_lb.kit.clock import Clock
from tests.support.clock import NOON
from tests.unit.control.leases import pool_of


class NoStore:
    """A database that nobody may ask."""

    def begin(self, *, writing: bool) -> UnitOfWork:  # noqa: ARG002 - as the port says
        """Not here."""
        raise AssertionError("nothing is counted that the ledger holds")


def api_key(name: str, *limits: Limit, streams_max: int = 0) -> ApiKey:
    """A key that was made at noon."""
    return ApiKey(
        ApiKeyId(name),
        name,
        "sk-clb-",
        name.encode(),
        created_at=NOON,
        updated_at=NOON,
        limits=limits,
        streams_max=streams_max,
    )


def limits_of(clock: Clock, *keys: ApiKey, pool: Pool | None = None) -> KeyLimits:
    """What holds these keys to their limits."""
    return book_and_limits_of(clock, *keys, pool=pool)[1]


def book_and_limits_of(
    clock: Clock, *keys: ApiKey, pool: Pool | None = None, budgets: MemoryBudgets | None = None
) -> tuple[KeyBook, KeyLimits]:
    """The same, with the keys."""
    feed = PolicyFeed(pool or pool_of(), SettingsBook(LiveSettings()), clock, history_id="history")
    book = KeyBook(feed)
    for key in keys:
        book.put(key)
    return book, KeyLimits(book, budgets or MemoryBudgets(), NoStore(), load_prices(), clock)
