"""Long lists in pages: what has been made when never changes, so a page token stays good whatever happens in between."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from codex_lb.control.errors import InvalidPageTokenError

PAGE_SIZE = 100  # where none is asked for
PAGE_SIZE_MAX = 1000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of the entries."""

    entries: tuple[T, ...]
    next_page_token: str  # empty on the last page
    total: int


def page_of(entries: Iterable[T], made: Callable[[T], tuple[datetime, str]], *, size: int, token: str) -> Page[T]:
    """The entries behind the page token's, the first made first. Raises InvalidPageTokenError.

    `made` tells when an entry was made, and its id.
    """
    size = min(size, PAGE_SIZE_MAX) if size > 0 else PAGE_SIZE

    def position(entry: T) -> tuple[str, str]:
        made_at, entry_id = made(entry)
        return f"{made_at.timestamp():020.6f}", entry_id

    everything = sorted(entries, key=position)
    after = _read_token(token) if token else None
    rest = everything if after is None else [entry for entry in everything if position(entry) > after]
    next_token = _write_token(position(rest[size - 1])) if len(rest) > size else ""
    return Page(tuple(rest[:size]), next_token, len(everything))


def _write_token(position: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(" ".join(position).encode()).decode()


def _read_token(token: str) -> tuple[str, str]:
    try:
        made_at, found, entry_id = base64.urlsafe_b64decode(token).decode().partition(" ")
    except (binascii.Error, ValueError):
        found = ""
    if not found:
        raise InvalidPageTokenError("page_token is not one that this list gave.")
    return made_at, entry_id
