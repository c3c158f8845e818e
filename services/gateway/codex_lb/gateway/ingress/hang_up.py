"""Notices that an HTTP client has hung up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import Receive


def hang_up_of(receive: Receive) -> Callable[[], Awaitable[None]]:
    """A function that returns when the client is gone. Its request must have been read to the end."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    return gone
