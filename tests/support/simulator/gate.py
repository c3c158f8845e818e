"""The gate: streams wait here until the control API releases them."""

import asyncio
from collections.abc import Callable

Held = Callable[[str, int], None]  # account, change


class Gate:
    """Who is held, oldest first."""

    def __init__(self, on_held: Held) -> None:
        self._waiting: dict[asyncio.Future[None], str] = {}
        self._on_held = on_held

    async def wait(self, account: str) -> None:
        """Returns when somebody releases this account's streams, or all."""
        released: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[released] = account
        self._on_held(account, 1)
        try:
            await released
        finally:
            self._waiting.pop(released, None)
            self._on_held(account, -1)

    def release(self, account: str | None = None, *, streams_max: int | None = None) -> int:
        """Lets held streams go, oldest first; returns how many."""
        chosen = [one for one, name in self._waiting.items() if account in (None, name) and not one.done()]
        for released in chosen[:streams_max]:
            released.set_result(None)
        return len(chosen[:streams_max])
