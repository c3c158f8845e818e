"""Limits, and what leases count for in them, as scripts take and tell it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import msgspec

from codex_lb.control.coordination.lease_records import MICROSECOND, fence, instant_of, microseconds, told_again
from codex_lb.control.domain.ids import ApiKeyId, LeaseId
from codex_lb.control.domain.limit import LENGTH, Limit
from codex_lb.control.domain.spending import Spent
from codex_lb.control.usecases.lease_ports import Ending
from codex_lb.control.usecases.limit_ports import BudgetUse, KeyUse, Known, Reserving
from codex_lb.kit.redis import Argument

LENGTH_US = {window: length // MICROSECOND for window, length in LENGTH.items()}

UNSAID = ("", b"", b"")

_encode = msgspec.msgpack.Encoder().encode
_spent = msgspec.msgpack.Decoder(Spent)


def window_of(limit: Limit) -> tuple[Argument, ...]:
    """What tells when a limit's present window began, on Redis's clock."""
    reset_at = 0 if limit.reset_at is None else microseconds(limit.reset_at)
    return limit.limit_id, microseconds(limit.begins_at), LENGTH_US[limit.window], reset_at


def packed_limits(limits: Iterable[Limit]) -> list[Argument]:
    """Limits, one after the other."""
    return [argument for limit in limits for argument in window_of(limit)]


def packed_reserving(reserving: Iterable[Reserving]) -> list[Argument]:
    """What a turn wants to reserve."""
    wanted: list[Argument] = []
    for one in reserving:
        wanted += (*window_of(one.limit), one.amount, one.limit.amount_max)
    return wanted


def packed_ending(ending: Ending, *, is_again: bool = False) -> list[Argument]:
    """A lease that ends; told again, it says all that may have been forgotten."""
    lease, spent = ending.lease, ending.spent
    limits = ending.limits if spent is not None else ()
    arguments: list[Argument] = [
        lease.lease_id,
        fence(lease.epoch),
        lease.api_key_id,
        microseconds(lease.granted_at),
        int(ending.is_final),
        b"" if spent is None else _encode(spent),
        ending.revision,
        *(told_again(lease) if is_again else UNSAID),
        len(limits),
    ]
    for limit in limits:
        arguments += (*window_of(limit), spent.of_limit(limit) if spent is not None else 0)
    return arguments


def packed_end(lease_id: LeaseId, epoch: int) -> tuple[Argument, ...]:
    """A lease under which nothing was done."""
    return lease_id, fence(epoch), "", 0, 1, b"", 0, *UNSAID, 0


def packed_stored(ending: Ending) -> list[Argument]:
    """A lease that the ledger has."""
    return [ending.lease.api_key_id, ending.lease.lease_id, int(ending.is_final)]


def use_of(api_key_id: ApiKeyId, limits: Sequence[Limit], told: object) -> KeyUse:
    """How the limits of a key stand."""
    version, counts = cast("tuple[int, list[int]]", told)
    pairs = zip(limits, counts[::2], counts[1::2], strict=True)
    return KeyUse(
        api_key_id,
        version,
        {limit.limit_id: None if used < 0 else BudgetUse(used, reserved) for limit, used, reserved in pairs},
    )


def known_of(limits: Sequence[Limit], told: Sequence[object]) -> Known:
    """What a count from the ledger must leave to the counters."""
    version, since, ended, held = cast("tuple[int, list[int], list[bytes], list[bytes]]", told)
    return Known(
        version,
        {limit.limit_id: instant_of(at) for limit, at in zip(limits, since, strict=True)},
        {LeaseId(ended[i].decode()): _spent.decode(ended[i + 1]) for i in range(0, len(ended), 2)},
        [LeaseId(lease_id.decode()) for lease_id in held],
    )
