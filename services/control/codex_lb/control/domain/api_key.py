"""What an API key is: who may use it, for what, and how much. Pure; the key itself is never kept, only its SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from codex_lb.control.domain.ids import AccountId, ApiKeyId
from codex_lb.control.domain.limit import AMOUNT_MAX, LIMITS_MAX, Limit
from codex_lb.control.errors import InvalidUpdateError

SECRET_PREFIX = "sk-clb-"  # noqa: S105 - what every key begins with is no secret
PREFIX_CHARS = 15  # of the key, shown so that people can tell keys apart
NAME_CHARS_MAX = 128
MODELS_MAX = 200
MODEL_CHARS_MAX = 256
ACCOUNTS_MAX = 1000
STREAMS_MAX = 10_000
OVERLAP_MAX = timedelta(days=30)  # for how long a rotated key's predecessor may work on

EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"})
TIERS = frozenset({"auto", "default", "priority", "flex", "fast", "ultrafast"})


class UsageSection(StrEnum):
    """What /v1/usage shows a key's holder beyond the key's own usage."""

    UPSTREAM_LIMITS = "upstream_limits"
    ACCOUNT_POOL_USAGE = "account_pool_usage"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of a client."""

    api_key_id: ApiKeyId
    name: str
    prefix: str
    digest: bytes  # SHA-256 of the whole key
    created_at: datetime
    updated_at: datetime
    revision: int = 1
    is_enabled: bool = True
    expires_at: datetime | None = None
    previous_digest: bytes = b""  # of the key before the last rotation, empty for none
    previous_until: datetime | None = None  # it works until then
    allowed_models: tuple[str, ...] = ()  # empty for all
    enforced_model: str = ""
    enforced_reasoning_effort: str = ""
    enforced_service_tier: str = ""
    allowed_reasoning_efforts: tuple[str, ...] = ()  # empty for all
    account_scope: tuple[AccountId, ...] | None = None  # None for the whole pool; an empty one has no account
    streams_max: int = 0  # turns at once, 0 for no limit
    usage_sections: tuple[UsageSection, ...] = tuple(UsageSection)
    limits: tuple[Limit, ...] = ()

    @property
    def etag(self) -> str:
        """Changes with every change of the key."""
        return str(self.revision)


@dataclass(frozen=True, slots=True)
class Secret:
    """A new key in clear: shown once, then forgotten."""

    text: str

    def __repr__(self) -> str:
        return "Secret(…)"  # must not reach a log by way of a repr

    @property
    def prefix(self) -> str:
        """What people tell it apart by."""
        return self.text[:PREFIX_CHARS]

    @property
    def digest(self) -> bytes:
        """What is kept of it."""
        return hashlib.sha256(self.text.encode()).digest()


def secret_of(random_part: str) -> Secret:
    """The key with this random part."""
    return Secret(SECRET_PREFIX + random_part)


def rotated(key: ApiKey, secret: Secret, *, overlap: timedelta, now: datetime) -> ApiKey:
    """The key with a new secret; the old one works on for the overlap. Raises InvalidUpdateError."""
    if not timedelta(0) <= overlap <= OVERLAP_MAX:
        raise InvalidUpdateError(f"overlap must be between 0 and {OVERLAP_MAX.days} days.")
    has_overlap = overlap > timedelta(0)
    return replace(
        key,
        prefix=secret.prefix,
        digest=secret.digest,
        previous_digest=key.digest if has_overlap else b"",
        previous_until=now + overlap if has_overlap else None,
    )


def checked(key: ApiKey) -> ApiKey:
    """The key as it is kept. Raises InvalidUpdateError, which names the field."""
    name = key.name.strip()
    if not 1 <= len(name) <= NAME_CHARS_MAX or not name.isprintable():
        raise InvalidUpdateError(f"api_key.display_name must have 1 to {NAME_CHARS_MAX} printable characters.")
    _check_models(key)
    _check_word("enforced_service_tier", key.enforced_service_tier, TIERS)
    _check_word("enforced_reasoning_effort", key.enforced_reasoning_effort, EFFORTS)
    for effort in key.allowed_reasoning_efforts:
        _check_word("allowed_reasoning_efforts", effort, EFFORTS)
    if key.enforced_reasoning_effort and key.allowed_reasoning_efforts:
        raise InvalidUpdateError("An effort is either enforced or chosen among the allowed ones, not both.")
    if not 0 <= key.streams_max <= STREAMS_MAX:
        raise InvalidUpdateError(f"api_key.streams_max must be between 0 and {STREAMS_MAX}.")
    if key.account_scope is not None and len(key.account_scope) > ACCOUNTS_MAX:
        raise InvalidUpdateError(f"api_key.account_scope may hold {ACCOUNTS_MAX} accounts.")
    _check_limits(key.limits)
    return replace(key, name=name)


def with_limits(key: ApiKey, wanted: Sequence[Limit], *, new_limit_id: Callable[[], str]) -> tuple[Limit, ...]:
    """The limits wanted, each with the identity and the history of the one the key has of its kind."""
    known = {limit.identity: limit for limit in key.limits}
    kept: list[Limit] = []
    for limit in wanted:
        had = known.get(limit.identity)
        if had is not None:
            kept.append(replace(had, amount_max=limit.amount_max, reset_at=limit.reset_at or had.reset_at))
        else:
            kept.append(replace(limit, limit_id=new_limit_id(), begins_at=key.created_at))
    return tuple(kept)


def with_usage_reset(key: ApiKey, limit_ids: Sequence[str], *, now: datetime) -> ApiKey:
    """The key with its count begun anew; of all limits when none is named. Raises InvalidUpdateError."""
    unknown = set(limit_ids) - {limit.limit_id for limit in key.limits}
    if unknown:
        raise InvalidUpdateError(f"The key has no limit {min(unknown)[:100]}.")
    return replace(
        key,
        limits=tuple(
            replace(limit, reset_at=now) if not limit_ids or limit.limit_id in limit_ids else limit
            for limit in key.limits
        ),
    )


def _check_models(key: ApiKey) -> None:
    if len(key.allowed_models) > MODELS_MAX:
        raise InvalidUpdateError(f"api_key.allowed_models may hold {MODELS_MAX} models.")
    for model in (*key.allowed_models, key.enforced_model, *(limit.model for limit in key.limits)):
        if len(model) > MODEL_CHARS_MAX or not model.isprintable():
            raise InvalidUpdateError(f"A model's name has at most {MODEL_CHARS_MAX} printable characters.")
    if "" in key.allowed_models:
        raise InvalidUpdateError("api_key.allowed_models holds an empty name.")
    if key.enforced_model and key.allowed_models and key.enforced_model not in key.allowed_models:
        raise InvalidUpdateError("api_key.enforced_model is none of api_key.allowed_models.")


def _check_word(field: str, value: str, known: frozenset[str]) -> None:
    if value and value not in known:
        raise InvalidUpdateError(f"api_key.{field} must be one of {', '.join(sorted(known))}.")


def _check_limits(limits: Sequence[Limit]) -> None:
    if len(limits) > LIMITS_MAX:
        raise InvalidUpdateError(f"A key may have {LIMITS_MAX} limits.")
    if len({limit.identity for limit in limits}) != len(limits):
        raise InvalidUpdateError("A key has at most one limit of a unit, window and model.")
    if any(not 0 < limit.amount_max <= AMOUNT_MAX for limit in limits):
        raise InvalidUpdateError(f"api_key.limits.amount_max must be between 1 and {AMOUNT_MAX}.")
