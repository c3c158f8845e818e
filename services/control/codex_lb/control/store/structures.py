"""Values of the domain as JSON, for columns that are read whole; and evidence as the log's columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, assert_never

import msgspec

from codex_lb.control.domain.evidence import (
    Closed,
    CreditsSeen,
    Evidence,
    LoginRejected,
    Operated,
    QuotaSeen,
    Reactivated,
    Refused,
    Served,
    UsageSeen,
)

T = TypeVar("T")

EVIDENCE: dict[str, type[Evidence]] = {
    "usage_seen": UsageSeen,
    "quota_seen": QuotaSeen,
    "credits_seen": CreditsSeen,
    "refused": Refused,
    "served": Served,
    "login_rejected": LoginRejected,
    "closed": Closed,
    "reactivated": Reactivated,
    "operated": Operated,
}
KINDS = {type_: kind for kind, type_ in EVIDENCE.items()}
_encoder = msgspec.json.Encoder()
FINAL = "final"  # the key of rejections that outrank all others of their generation


def to_json(value: object) -> str:
    """What the database's JSON columns are written with. Instants are in UTC; NaN is refused, for JSON has none."""
    return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":"))


def structure(value: object) -> Any:
    """A domain value as plain JSON values, to be put into a column."""
    return msgspec.to_builtins(value, builtin_types=(datetime,))


def packed(value: object) -> str:
    """The same as JSON at once, for statements that are handed what the driver takes."""
    return _encoder.encode(value).decode()


def restored(plain: object, type_: type[T]) -> T:
    """The domain value that `structure` took apart, or `packed`."""
    return msgspec.convert(plain, type_)


def all_restored(plain: Sequence[object] | None, type_: type[T]) -> tuple[T, ...]:
    """Those of a list."""
    return tuple(restored(one, type_) for one in plain or ())


def tagged(evidence: Evidence) -> dict[str, object]:
    """Evidence with the name of its kind, for lists of mixed kinds."""
    return {"type": KINDS[type(evidence)], **structure(evidence)}


def untagged(plain: dict[str, object]) -> Evidence:
    """The evidence that `tagged` took apart."""
    return restored(plain, EVIDENCE[str(plain["type"])])


def key_of(evidence: Evidence) -> str:
    """What the newest of a kind is told apart by; the same as in the domain's Record."""
    match evidence:
        case UsageSeen(window=window):
            return window.kind.value
        case QuotaSeen(limit_name=name):
            return name
        case Refused(kind=kind):
            return kind.value
        case LoginRejected(is_final=True):
            return FINAL
        case CreditsSeen() | Served() | LoginRejected() | Closed() | Reactivated() | Operated():
            return ""
        case _:
            assert_never(evidence)


def generation_of(evidence: Evidence) -> int:
    """What outranks the instant when the newest is looked for; the same as in the domain's Record."""
    return evidence.generation if isinstance(evidence, LoginRejected | Closed) else 0


def _plain(value: object) -> str:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"{type(value).__name__} has no form in JSON")
