"""Upstream's turn state, which only the account that gave it can read, carried by the client together with its account.

Pure. `x-codex-turn-state` is echoed by Codex on later requests of the same turn. What the client gets from us is upstream's
value with the account in front, so any gateway knows whose it is without asking anybody.
"""

from __future__ import annotations

from collections.abc import Iterable

RawHeader = tuple[bytes, bytes]

NAME = b"x-codex-turn-state"
MARK = b"clb1."  # of values that we gave; another client's own value is passed as it is


def marked(value: str, account_id: str) -> str:
    """Upstream's value as the client gets it."""
    return f"{MARK.decode()}{account_id}.{value}"


def account_of(headers: Iterable[RawHeader]) -> str:
    """The account whose turn state the client holds; empty for none."""
    for name, value in headers:
        if name == NAME and value.startswith(MARK):
            return value[len(MARK) :].partition(b".")[0].decode("latin-1")
    return ""


def without_foreign(headers: Iterable[RawHeader], account_id: str) -> list[RawHeader]:
    """The headers for an account: its own turn state without our mark, another account's not at all."""
    kept: list[RawHeader] = []
    for name, value in headers:
        if name != NAME or not value.startswith(MARK):
            kept.append((name, value))
            continue
        owner, _, state = value[len(MARK) :].partition(b".")
        if owner.decode("latin-1") == account_id and state:
            kept.append((name, state))
    return kept
