"""Keeps what this control holds in memory true to what other controls change, and tells them what it changes.

Without it, a control would be right until somebody talks to another one. What is stored is read anew by whoever hears that
it changed; evidence travels whole, for it decides at once and is stored later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias, assert_never

import anyio

from codex_lb.control.domain.evidence import Evidence
from codex_lb.control.domain.ids import AccountId, ApiKeyId
from codex_lb.control.errors import StoreUnavailableError
from codex_lb.control.usecases.adopt_keys import AdoptKeys
from codex_lb.control.usecases.event_ports import (
    Bound,
    Changed,
    Event,
    Events,
    Failed,
    Hurried,
    Observed,
    Remembered,
    Subject,
    Unbound,
)
from codex_lb.control.usecases.key_book import KeyBook
from codex_lb.control.usecases.key_limits import KeyLimits
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.policy_feed import PolicyFeed
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.ports import Store
from codex_lb.control.usecases.rotations import Rotations

READ_AGAIN_S = 1.0  # until a database that is away is asked again for what was missed
JOURNAL_EVERY_S = (
    30.0  # well within a ticket's life: an exchange whose control died on the spot is known before the next
)

Told: TypeAlias = Bound | Unbound | Remembered | Failed | Hurried
TakeIn: TypeAlias = Callable[[Told], Awaitable[None]]


class FollowOthers:
    """The verb; it runs for as long as control lives."""

    def __init__(
        self,
        events: Events,
        pool: Pool,
        book: SettingsBook,
        key_book: KeyBook,
        keys: AdoptKeys,
        limits: KeyLimits,
        feed: PolicyFeed,
        rotations: Rotations,
        told: TakeIn,
        store: Store,
    ) -> None:
        self._events = events
        self._pool = pool
        self._book = book
        self._keys = keys
        self._limits = limits
        self._feed = feed
        self._rotations = rotations
        self._told = told
        self._store = store
        pool.on_own_change(self._tell_of_account)
        book.on_own_change(partial(self._tell, Subject.SETTINGS))
        key_book.on_own_change(partial(self._tell, Subject.API_KEYS))
        limits.on_reached(partial(self._tell, Subject.KEY_USE))
        feed.on_catalog(partial(self._tell, Subject.CATALOG))
        rotations.on_own_change(partial(self._tell, Subject.EXCHANGES))

    async def run(self) -> None:
        """Takes in what others tell."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read_journal)
            await self._events.follow(self.take_in, self.read_anew)

    async def take_in(self, event: Event) -> None:
        """What another control told."""
        match event:
            case Observed(account_id, evidence):
                self._pool.learn(account_id, evidence)
                self._feed.refresh_pool()
            case Changed(Subject.ACCOUNT, account_id):
                await self._stored(partial(self._read_account, AccountId(account_id)))
            case Changed(Subject.SETTINGS):
                await self._stored(partial(self._book.read_anew, self._store))
            case Changed(Subject.API_KEYS):
                await self._stored(self._keys.all)
            case Changed(Subject.KEY_USE, api_key_id):
                await self._limits.look(ApiKeyId(api_key_id))
            case Changed(Subject.CATALOG):
                await self._stored(partial(self._feed.load_catalog, self._store))
            case Changed(Subject.EXCHANGES):
                await self._stored(self._rotations.load)
            case Changed():
                await self.read_anew()
            case Bound() | Unbound() | Remembered() | Failed() | Hurried():
                await self._told(event)
            case _:
                assert_never(event)

    async def read_anew(self) -> None:
        """Everything that is stored: something may have been missed."""
        for read in (
            partial(self._book.read_anew, self._store),
            self._keys.all,
            self._limits.load,
            self._read_accounts,
            partial(self._feed.load_catalog, self._store),
            self._rotations.load,
        ):
            await self._stored(read)

    def _tell(self, subject: Subject, subject_id: str = "") -> None:
        self._events.publish(Changed(subject, subject_id))

    def _tell_of_account(self, account_id: AccountId, evidence: Evidence | None) -> None:
        changed = Changed(Subject.ACCOUNT, account_id)
        self._events.publish(changed if evidence is None else Observed(account_id, evidence))

    async def _stored(self, read: Callable[[], Awaitable[None]]) -> None:
        """Reads what is stored, as soon as the database answers: events wait meanwhile, and stay in their order."""
        while True:
            try:
                await read()
            except StoreUnavailableError:
                await anyio.sleep(READ_AGAIN_S)
            else:
                return

    async def _read_account(self, account_id: AccountId) -> None:
        while True:
            before = self._pool.rows_changed
            async with self._store.begin(writing=False) as unit:
                stored = await unit.accounts.get(account_id)
            if before == self._pool.rows_changed:  # else it may have changed here, after it was read
                break
        if stored is None:
            self._pool.drop(account_id)
        else:
            self._pool.take_over(*stored)
        self._feed.refresh_pool()

    async def _read_accounts(self) -> None:
        while True:
            before = self._pool.rows_changed
            async with self._store.begin(writing=False) as unit:
                evidence = await unit.accounts.newest_evidence()
                stored = {account.account_id: (account, sealed) for account, sealed in await unit.accounts.all()}
            if before == self._pool.rows_changed:
                break
        for member in self._pool.members():
            if member.account.account_id not in stored:
                self._pool.drop(member.account.account_id)
        for account_id, (account, sealed) in stored.items():
            known = self._pool.get(account_id)
            if known is None or (known.account, known.sealed) != (account, sealed):
                self._pool.take_over(account, sealed)
            for one in evidence.get(account_id, ()):
                self._pool.learn(account_id, one)
        self._feed.refresh_pool()

    async def _read_journal(self) -> None:
        while True:
            await anyio.sleep(JOURNAL_EVERY_S)
            await self._stored(self._rotations.load)
