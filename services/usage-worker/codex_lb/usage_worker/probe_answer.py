"""Reads what upstream answered to a probe: a stream that came to its end, or an error in one of its forms. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeGuard

import msgspec

from codex_lb.usage_worker import faults
from codex_lb.usage_worker.work import Probed

BROKEN_OFF = "stream_incomplete"
NOT_OFFERED = b"is not supported when using codex"  # the only thing upstream says then
UNNAMED = "upstream_error"
RESETS_WITHIN = timedelta(days=366)  # a reset farther away is no instant but a mistake
SERVED = frozenset({"response.completed", "response.done", "response.incomplete"})
FAILED = frozenset({"response.failed", "error"})


def parse_probe(status: int, body: bytes, *, when: str, now: datetime) -> Probed:
    """How the turn ended, all but how long it took."""
    if not 200 <= status < 300:
        return _refused(status, body, when=when, now=now)
    for event in _events(body):
        kind = event.get("type")
        if kind in SERVED:
            return Probed(is_served=True, status=status)
        if kind in FAILED:
            response = event.get("response")
            error = response.get("error") if isinstance(response, dict) else event.get("error", event)
            refused = _refused(0, msgspec.json.encode({"error": error}), when=when, now=now)
            code = UNNAMED if refused.code == "http_0" else refused.code
            return replace(refused, status=status, code=code, message=f"{when}: upstream ended the turn with {code}")
    return Probed(
        is_served=False, status=status, code=BROKEN_OFF, message=f"{when}: the answer ended before the turn did"
    )


def _refused(status: int, body: bytes, *, when: str, now: datetime) -> Probed:
    failure = faults.upstream_refusal(status, body, when=when)
    code, message = failure.code, failure.message
    if NOT_OFFERED in body.lower():
        code, message = "model_not_supported", f"{when}: upstream does not offer the account this model"
    return Probed(
        is_served=False,
        status=status,
        code=code,
        message=message,
        resets_at=_resets_at(faults.mapping_of(body), now),
    )


def _events(body: bytes) -> Iterator[Mapping[str, object]]:
    for line in body.splitlines():
        if line.startswith(b"data:"):
            yield faults.mapping_of(line[5:])


def _resets_at(answer: Mapping[str, object], now: datetime) -> datetime | None:
    """When the quota returns, if upstream gave a plausible instant; rounded up, for a second early is a refusal more."""
    error = answer.get("error")
    if not isinstance(error, dict):
        return None
    at, in_seconds = error.get("resets_at"), error.get("resets_in_seconds")
    present = now.timestamp()
    if _is_number(at):
        epoch_s = at
    elif _is_number(in_seconds):
        epoch_s = in_seconds + present
    else:
        return None
    if not present < epoch_s <= present + RESETS_WITHIN.total_seconds():
        return None
    return datetime.fromtimestamp(-(-epoch_s // 1), UTC)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
