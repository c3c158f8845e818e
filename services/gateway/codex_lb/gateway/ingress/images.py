"""Images that requests name by URL: the port through which they are had. `inline_images.py` fetches them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

# URLs, to the data URLs of those that could be had
FetchImages: TypeAlias = Callable[[Sequence[str]], Awaitable[dict[str, str]]]


async def fetch_nothing(_urls: Sequence[str]) -> dict[str, str]:
    """When fetching is switched off."""
    return {}
