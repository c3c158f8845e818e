"""What all tables share: the naming of constraints, and column types that mean the same on both databases."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, MetaData, String, TypeDecorator

# Named by rule, so that a migration can address every constraint on either database.
metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class Instant(TypeDecorator[datetime]):
    """A moment: stored in UTC, returned aware. SQLite keeps it as text, which sorts by time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        in_utc = instant_in_utc(value)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Words(TypeDecorator[str]):
    """Text. PostgreSQL cannot hold NUL, which clients can send inside a model's name: it must not cost the row."""

    impl = String()
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else without_nul(value)


def instant_in_utc(value: datetime) -> datetime:
    """As PostgreSQL's driver takes it. Raises ValueError for a moment that may be any of several."""
    if value.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return value.astimezone(UTC)


def instant_as_text(value: datetime) -> str:
    """As SQLite keeps it: always as long, and without the zone, which is UTC."""
    in_utc = value if value.tzinfo is UTC else instant_in_utc(value)
    return in_utc.isoformat(" ", "microseconds")[:INSTANT_CHARS]


def without_nul(value: str) -> str:
    """The text, with another sign in place of NUL."""
    return value.replace("\0", "\ufffd") if "\0" in value else value


INSTANT_CHARS = len("2026-05-04 12:00:00.123456")
COUNT = BigInteger()  # numbers that come from outside or only ever rise
ROW_ID = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts rows by itself only in a plain INTEGER
STRUCTURE = JSON(none_as_null=True)  # a value of the domain that is read whole and never searched
