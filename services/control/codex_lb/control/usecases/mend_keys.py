"""Brings keys up to date whose turns wait for it: those that another control changed, and those that nobody has counted.

It asks the database, so it is done beside the line of turns that wait and not inside it: one key must not keep the turns of
all others waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
import structlog

from codex_lb.control.domain.ids import ApiKeyId
from codex_lb.control.errors import ControlError
from codex_lb.control.usecases.adopt_keys import AdoptKeys
from codex_lb.control.usecases.key_book import KeyBook
from codex_lb.control.usecases.key_limits import KeyLimits

AT_ONCE_MAX = 3  # keys; each takes a connection to the database for a moment
AGAIN_S = 0.2  # until a key is tried again that could not be brought up to date

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class MendKeys:
    """The verb; `run` does it."""

    def __init__(self, book: KeyBook, limits: KeyLimits, adopt: AdoptKeys) -> None:
        self._book = book
        self._limits = limits
        self._adopt = adopt
        self._wanted: dict[ApiKeyId, bool] = {}  # with whether it was changed elsewhere
        self._begun: set[ApiKeyId] = set()
        self._has_wanted = asyncio.Event()
        self._listeners: list[Callable[[ApiKeyId], None]] = []
        self._is_away = False

    def on_done(self, listener: Callable[[ApiKeyId], None]) -> None:
        """Tells a listener of every key whose turns can be looked at again."""
        self._listeners.append(listener)

    def is_mending(self, api_key_id: str) -> bool:
        """Whether nobody can tell at the moment what the key may still use."""
        return api_key_id in self._wanted

    def want(self, api_key_id: str, *, is_outdated: bool) -> None:
        """A turn of this key waits for it."""
        key = ApiKeyId(api_key_id)
        self._wanted[key] = self._wanted.get(key, False) or is_outdated
        self._has_wanted.set()

    async def run(self) -> None:
        """Goes on until cancelled."""
        at_once = anyio.CapacityLimiter(AT_ONCE_MAX)
        async with anyio.create_task_group() as tasks:
            while True:
                await self._has_wanted.wait()
                self._has_wanted.clear()
                for key in self._wanted.keys() - self._begun:
                    self._begun.add(key)
                    tasks.start_soon(self._mend, key, at_once)

    async def _mend(self, api_key_id: ApiKeyId, at_once: anyio.CapacityLimiter) -> None:
        async with at_once:
            try:
                key = self._book.get(api_key_id)
                if self._wanted[api_key_id]:
                    await self._adopt.one(api_key_id)
                elif key is not None and key.limits:
                    await self._limits.count(key)
            except ControlError as error:
                self._note(is_away=True, why=str(error))
                await anyio.sleep(AGAIN_S)
            else:
                self._note(is_away=False)
        self._begun.discard(api_key_id)
        del self._wanted[api_key_id]
        for tell in self._listeners:
            tell(api_key_id)

    def _note(self, *, is_away: bool, why: str = "") -> None:
        if is_away and not self._is_away:
            log.warning("what keys have used cannot be counted", why=why)
        if not is_away and self._is_away:
            log.info("what keys have used can be counted again")
        self._is_away = is_away
