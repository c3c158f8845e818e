"""Which account holds a piece of upstream state that nobody else's login can reach: an uploaded file, a thread's goal."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

OWNERS_MAX = 50_000  # the last ones; about 10 MB


class Owners(Protocol):
    """Accounts by what they own."""

    def remember(self, thing: str, account_id: str) -> None:
        """The account owns the thing from now on."""
        ...

    def owner_of(self, thing: str) -> str:
        """The account, empty when it is not known."""
        ...


class MemoryOwners:
    """Owners that this replica saw itself; whatever was used longest ago is forgotten first."""

    def __init__(self, *, owners_max: int = OWNERS_MAX) -> None:
        self._owners_max = owners_max
        self._account_of: OrderedDict[str, str] = OrderedDict()

    def remember(self, thing: str, account_id: str) -> None:
        self._account_of[thing] = account_id
        self._account_of.move_to_end(thing)
        if len(self._account_of) > self._owners_max:
            self._account_of.popitem(last=False)

    def owner_of(self, thing: str) -> str:
        if thing not in self._account_of:
            return ""
        self._account_of.move_to_end(thing)
        return self._account_of[thing]
