"""Leases as Redis keeps them and as its scripts tell of them: packed, well under 1 KiB each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

import msgspec
from msgspec.structs import replace

from codex_lb.control.coordination.lease_counts import Held, LeaseCounts
from codex_lb.control.domain.ids import AccountId, LeaseId, ReplicaId
from codex_lb.control.domain.lease import Lease, ReservedAmount
from codex_lb.kit.redis import Argument

FENCE_DIGITS = 20  # of the largest; so fences are ordered as texts as they are as numbers
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class News(msgspec.Struct, array_like=True):
    """What a script published: in which generation, as which change, and what it changed."""

    generation: str
    number: int
    changes: list[list[str | int | bool]]


class Record(msgspec.Struct, array_like=True):
    """A lease in the table."""

    owner: str
    account_id: str
    api_key_id: str
    epoch: str
    granted_at: int  # in microseconds
    body: msgspec.Raw = msgspec.Raw()  # the lease itself, packed once more
    reservation: msgspec.Raw = msgspec.Raw()
    loose: str | bool = False  # why it holds no slot any more


_news = msgspec.msgpack.Decoder(News)
_record = msgspec.msgpack.Decoder(Record)
_lease = msgspec.msgpack.Decoder(Lease)
_encoder = msgspec.msgpack.Encoder()


def packed(lease: Lease) -> tuple[Argument, ...]:
    """What scripts take of a lease. What it has reserved stands beside it, for scripts count by that."""
    granted_at = microseconds(lease.granted_at)
    return lease.lease_id, lease.account_id, lease.api_key_id, fence(lease.epoch), granted_at, body_of(lease)


def body_of(lease: Lease) -> bytes:
    """What no script looks into. Accounts that were passed over are not named one by one: they would be most of it."""
    return _encoder.encode(replace(lease, decision=replace(lease.decision, passed_over=()), reservation=()))


def told_again(lease: Lease) -> tuple[str, bytes, bytes]:
    """Account, record and reservation of a lease that may have been forgotten."""
    reservation = [part for one in lease.reservation for part in reserved(one)]
    return lease.account_id, body_of(lease), _encoder.encode(reservation)


def reserved(one: ReservedAmount) -> tuple[str, int, int]:
    """What a lease has reserved of one limit, as scripts take it."""
    return one.limit_id, one.amount, microseconds(one.window_started_at)


def microseconds(instant: datetime) -> int:
    """An instant as scripts count it."""
    return (instant - EPOCH) // MICROSECOND


def instant_of(microseconds: int) -> datetime:
    """The instant that a script tells."""
    return EPOCH + microseconds * MICROSECOND


def fence(epoch: int) -> str:
    """A fence as scripts compare it."""
    return f"{epoch:0{FENCE_DIGITS}}"


def lease_of(told: object) -> Lease:
    """The lease of a record, as scripts tell it."""
    granted_at, body, reservation = cast("tuple[int, bytes, list[bytes | int]]", told)
    lease = _lease.decode(body)
    return replace(lease, granted_at=instant_of(granted_at), reservation=reservation_of(reservation))


def reservation_of(told: list[bytes | int]) -> tuple[ReservedAmount, ...]:
    """What a lease has reserved, as scripts tell it: limit, amount and window in turn."""
    reserved = zip(told[::3], told[1::3], told[2::3], strict=True)
    return tuple(
        ReservedAmount(cast("bytes", limit).decode(), cast("int", amount), instant_of(cast("int", since)))
        for limit, amount, since in reserved
    )


def news_of(message: bytes) -> News:
    """What a script published."""
    return _news.decode(message)


def take_in(counts: LeaseCounts, news: News) -> None:
    """Applies what a script changed."""
    for change in news.changes:
        match change:
            case [
                "taken",
                str(lease_id),
                str(owner),
                str(account),
                str(key),
                str(epoch),
                int(granted_at),
                bool(creating),
            ]:
                record = Record(owner, account, key, epoch, granted_at)
                counts.taken(held_of(lease_id, record), is_creating=creating)
            case ["begun", str(lease_id)]:
                counts.begin(LeaseId(lease_id))
            case ["freed", str(lease_id)]:
                counts.freed(LeaseId(lease_id))
            case _:
                raise ValueError(f"no change of a lease table: {change!r:.100}")


@dataclass(frozen=True, slots=True)
class Table:
    """The whole table, as a control reads it when it begins to follow it."""

    generation: str
    held: Sequence[Held]
    being_created: frozenset[LeaseId]
    last_granted: Sequence[tuple[AccountId, int]]


def table_of(told: Sequence[object]) -> Table:
    """What the script that joins returned."""
    generation, leases, creating, last = cast("tuple[bytes, list[bytes], list[bytes], list[bytes]]", told)
    records = [(one.decode(), _record.decode(record)) for one, record in pairs(leases)]
    held = (held_of(lease_id, record) for lease_id, record in records if not record.loose)
    return Table(
        generation.decode(),
        sorted(held, key=lambda one: one.epoch),
        frozenset(LeaseId(one.decode()) for one in creating),
        [(AccountId(account.decode()), int(epoch)) for account, epoch in pairs(last)],
    )


def pairs(flat: list[bytes]) -> Sequence[tuple[bytes, bytes]]:
    """A hash as Redis tells it: names and values in turn."""
    return list(zip(flat[::2], flat[1::2], strict=True))


def held_of(lease_id: str, record: Record) -> Held:
    """As much of a record as is counted."""
    return Held(
        LeaseId(lease_id),
        ReplicaId(record.owner),
        AccountId(record.account_id),
        record.api_key_id,
        int(record.epoch),
        instant_of(record.granted_at),
    )
