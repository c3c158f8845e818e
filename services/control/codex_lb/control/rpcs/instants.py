"""Instants and spans between protobuf and Python; unset messages are None."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(message: Message, field: str) -> datetime | None:
    """A timestamp field, None when it is not set."""
    return read_instant(getattr(message, field)) if message.HasField(field) else None


def read_instant(timestamp: Timestamp) -> datetime:
    """A timestamp as an aware datetime, to the microsecond."""
    return EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1000)


def wire_instant(value: datetime | None) -> Timestamp | None:
    """A datetime as a message field takes it."""
    if value is None:
        return None
    span = value - EPOCH
    return Timestamp(seconds=span.days * 86_400 + span.seconds, nanos=span.microseconds * 1000)


def seconds(message: Message, field: str) -> float | None:
    """A duration field in seconds, None when it is not set."""
    return read_seconds(getattr(message, field)) if message.HasField(field) else None


def read_seconds(duration: Duration) -> float:
    """A duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def wire_seconds(value_s: float | None) -> Duration | None:
    """Seconds as a message field takes them."""
    if value_s is None:
        return None
    whole = int(value_s)
    return Duration(seconds=whole, nanos=int((value_s - whole) * 1e9))
