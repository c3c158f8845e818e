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
from codex_lb.control.domain.lease import Lease
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
    granted_at: int  # in microseconds; the lease itself follows, packed once more


_news = msgspec.msgpack.Decoder(News)
_record = msgspec.msgpack.Decoder(Record)
_lease = msgspec.msgpack.Decoder(Lease)
_encoder = msgspec.msgpack.Encoder()


def packed(lease: Lease) -> tuple[Argument, ...]:
    """What scripts take of a lease. Accounts that were passed over are not named one by one: they would be most of it."""
    body = _encoder.encode(replace(lease, decision=replace(lease.decision, passed_over=())))
    granted_at = (lease.granted_at - EPOCH) // MICROSECOND
    return lease.lease_id, lease.account_id, lease.api_key_id, fence(lease.epoch), granted_at, body


def fence(epoch: int) -> str:
    """A fence as scripts compare it."""
    return f"{epoch:0{FENCE_DIGITS}}"


def lease_of(body: object) -> Lease:
    """The lease of a record's body."""
    return _lease.decode(cast("bytes", body))


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
    held = [held_of(one.decode(), _record.decode(record)) for one, record in pairs(leases)]
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
        EPOCH + record.granted_at * MICROSECOND,
    )
