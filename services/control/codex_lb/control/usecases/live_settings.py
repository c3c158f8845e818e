"""The settings that hold now: read once, changed by operators, told to whoever acts on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from hashlib import sha256
from typing import Self

from codex_lb.control.domain.settings import LiveSettings, changed, known_fields
from codex_lb.control.errors import StoreConflictError
from codex_lb.control.usecases.ports import Store

Listener = Callable[[LiveSettings], None]


class SettingsBook:
    """The verbs: read, change, give back to the environment. Returns from a change once it is committed."""

    def __init__(self, environment: LiveSettings) -> None:
        self._environment = environment
        self._changing = asyncio.Lock()
        self._listeners: list[Listener] = []
        self._tellers: list[Callable[[], None]] = []
        self.now = environment
        self.changed_fields: tuple[str, ...] = ()

    @property
    def etag(self) -> str:
        """Changes with every change."""
        return sha256(repr((self.now, self.changed_fields)).encode()).hexdigest()[:16]

    def on_change(self, listener: Listener) -> None:
        """Whoever acts on settings that it keeps in another form; it is told the present ones at once."""
        self._listeners.append(listener)
        listener(self.now)

    def on_own_change(self, teller: Callable[[], None]) -> None:
        """Whoever tells other controls."""
        self._tellers.append(teller)

    @classmethod
    async def load(cls, store: Store, environment: LiveSettings) -> Self:
        """What the environment says, and over it what is stored."""
        book = cls(environment)
        async with store.begin(writing=False) as unit:
            book._adopt(await unit.settings.all())
        return book

    async def read_anew(self, store: Store) -> None:
        """Another control has changed them."""
        async with self._changing:
            async with store.begin(writing=False) as unit:
                stored = await unit.settings.all()
            if (changed(self._environment, stored), tuple(sorted(stored))) != (self.now, self.changed_fields):
                self._adopt(stored)

    async def change(self, store: Store, values: Mapping[str, object], *, etag: str) -> None:
        """Raises InvalidUpdateError with the field's name, and StoreConflictError for an outdated etag."""
        async with self._changing:
            if etag and etag != self.etag:
                raise StoreConflictError("The settings were changed meanwhile. Look at them again.")
            changed(self.now, values)
            async with store.begin(writing=True) as unit:
                await unit.settings.put(values)
                stored = await unit.settings.all()
            self._adopt(stored)
            self._tell()

    async def reset(self, store: Store, names: Collection[str]) -> None:
        """Gives fields back to the environment. Raises InvalidUpdateError."""
        known_fields(names)
        async with self._changing:
            changed(self.now, {name: getattr(self._environment, name) for name in names})
            async with store.begin(writing=True) as unit:
                await unit.settings.remove(names)
                stored = await unit.settings.all()
            self._adopt(stored)
            self._tell()

    def _tell(self) -> None:
        for tell in self._tellers:
            tell()

    def _adopt(self, stored: Mapping[str, object]) -> None:
        self.now = changed(self._environment, stored)
        self.changed_fields = tuple(sorted(stored))
        for listener in self._listeners:
            listener(self.now)
