"""Whose is a failure, and what kind. Pure; the tables are the rule (architecture, section 3: "Blame is a table")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import msgspec

from codex_lb.gateway.outcome import Blame, Broken, Failure, Fault, Limited, Rejected

MESSAGE_CHARS_MAX = 500
CODE_CHARS_MAX = 100  # it travels with the settlement, and a message to control has a bound
RESETS_WITHIN = timedelta(days=366)  # a reset farther away is no instant but a mistake

UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_WAIT_PART = re.compile(
    r"(\d{1,9}(?:\.\d{1,9})?)\s?(ms|s(?:ec(?:onds?)?)?|m(?:in(?:utes?)?)?|h(?:ours?)?)(?![a-z])", re.IGNORECASE
)
_WAIT = re.compile(rf"try again in\s((?:{_WAIT_PART.pattern}\s?){{1,4}})", re.IGNORECASE)

Verdict = tuple[type[Limited] | type[Rejected] | type[Broken], Blame]

# By upstream's error code; where a body has no code, its type is one (data-plane reference 2.12). Our own
# "upstream_error", which stands in where upstream gave neither, has no row: the status decides.
BY_CODE: dict[str, Verdict] = {
    "usage_limit_reached": (Limited, Blame.ACCOUNT),
    "rate_limit_exceeded": (Limited, Blame.ACCOUNT),
    "insufficient_quota": (Limited, Blame.ACCOUNT),
    "usage_not_included": (Limited, Blame.ACCOUNT),
    "quota_exceeded": (Limited, Blame.ACCOUNT),
    "invalid_api_key": (Rejected, Blame.ACCOUNT),
    "invalid_authentication": (Rejected, Blame.ACCOUNT),
    "authentication_error": (Rejected, Blame.ACCOUNT),
    "token_invalidated": (Rejected, Blame.ACCOUNT),
    "token_expired": (Rejected, Blame.ACCOUNT),
    "token_revoked": (Rejected, Blame.ACCOUNT),
    "account_deactivated": (Rejected, Blame.ACCOUNT),
    "account_suspended": (Rejected, Blame.ACCOUNT),
    "account_deleted": (Rejected, Blame.ACCOUNT),
    "server_is_overloaded": (Broken, Blame.MODEL),
    "overloaded_error": (Broken, Blame.MODEL),
    "slow_down": (Broken, Blame.MODEL),
    "server_error": (Broken, Blame.UPSTREAM),
    "service_unavailable_error": (Broken, Blame.UPSTREAM),
    "context_length_exceeded": (Rejected, Blame.CLIENT),
    "invalid_prompt": (Rejected, Blame.CLIENT),
    "invalid_request_error": (Rejected, Blame.CLIENT),
    "invalid_encrypted_content": (Rejected, Blame.CLIENT),
    "previous_response_not_found": (Rejected, Blame.CLIENT),
}

# By HTTP status, where the code says nothing.
BY_STATUS: dict[int, Verdict] = {
    401: (Rejected, Blame.ACCOUNT),
    402: (Limited, Blame.ACCOUNT),
    403: (Rejected, Blame.UPSTREAM),  # a challenge page or a policy of the edge; another account may pass
    408: (Broken, Blame.UPSTREAM),
    409: (Broken, Blame.UPSTREAM),
    425: (Broken, Blame.UPSTREAM),
    429: (Limited, Blame.ACCOUNT),
}

# By a phrase of the message, where upstream uses one code for several things. Compared in lower case.
BY_PHRASE: tuple[tuple[str, str, Verdict], ...] = (
    ("account has been deactivated", "account_deactivated", (Rejected, Blame.ACCOUNT)),
    ("is not supported when using codex with a chatgpt account", "model_not_supported", (Rejected, Blame.MODEL)),
    ("selected model is at capacity", "server_is_overloaded", (Broken, Blame.MODEL)),
    ("usage limit has been reached", "usage_limit_reached", (Limited, Blame.ACCOUNT)),
)

CODE_OF_STATUS = {401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}


class ErrorBody(msgspec.Struct):
    """What is read of an error, wherever it stands. Anything may be missing or of another type."""

    code: object = None
    type: object = None
    message: object = None
    param: object = None
    plan_type: object = None
    resets_at: object = None
    resets_in_seconds: object = None


class ErrorEnvelope(msgspec.Struct):
    """The three shapes of upstream's HTTP error bodies (data-plane reference 2.5)."""

    error: object = None
    detail: object = None
    message: object = None


@dataclass(frozen=True, slots=True)
class Said:
    """An error as upstream put it."""

    code: str
    message: str
    plan: str = ""
    resets_at: datetime | None = None


def judge_answer(status: int, headers: Mapping[str, str], body: bytes, *, now: datetime) -> Failure:
    """An HTTP answer that is no stream."""
    said = read_error_body(body, now=now) or Said(CODE_OF_STATUS.get(status, ""), "")
    message = said.message or f"Upstream error: HTTP {status}"
    retry_after_s = read_retry_after(headers.get("retry-after", ""))
    fault = Fault(
        code=said.code or CODE_OF_STATUS.get(status, "upstream_error"),
        blame=Blame.UPSTREAM,
        message=message[:MESSAGE_CHARS_MAX],
        status=status,
        body=body,
        content_type=headers.get("content-type", ""),
        plan=said.plan,
        resets_at=said.resets_at,
        retry_after_s=read_wait(message[:MESSAGE_CHARS_MAX]) if retry_after_s is None else retry_after_s,
    )
    return judge(fault)


def judge_event(error: object, *, now: datetime) -> Failure:
    """The `error` object of a `response.failed` or `error` event."""
    said = read_error(error, now=now) or Said("upstream_error", "")
    fault = Fault(
        code=said.code or "upstream_error",
        blame=Blame.UPSTREAM,
        message=said.message[:MESSAGE_CHARS_MAX],
        plan=said.plan,
        resets_at=said.resets_at,
        retry_after_s=read_wait(said.message[:MESSAGE_CHARS_MAX]),
    )
    return judge(fault)


def judge(fault: Fault) -> Failure:
    """The verdict: by phrase, then code, then status; what nobody knows is upstream's if it is 5xx or an event."""
    lowered = fault.message.lower()
    for phrase, code, verdict in BY_PHRASE:
        if phrase in lowered:
            return _sentenced(replace(fault, code=code), verdict)
    by_code = BY_CODE.get(fault.code)
    is_vague = fault.code == "invalid_request_error" and fault.status in BY_STATUS
    # A 401 is about the login, whatever its code says: it must never be passed on as the client's own mistake.
    is_login = by_code is not None and by_code[1] is Blame.CLIENT and fault.status == 401
    if by_code is not None and not is_vague and not is_login:
        return _sentenced(fault, by_code)
    if fault.status in BY_STATUS:
        return _sentenced(fault, BY_STATUS[fault.status])
    if 400 <= fault.status < 500:
        return _sentenced(fault, (Rejected, Blame.CLIENT))
    return _sentenced(fault, (Broken, Blame.UPSTREAM))


def _sentenced(fault: Fault, verdict: Verdict) -> Failure:
    kind, blame = verdict
    return kind(replace(fault, blame=blame))


def read_error_body(body: bytes, *, now: datetime) -> Said | None:
    """An HTTP error body in any of its shapes; None when it is none of them (an HTML page, say)."""
    try:
        envelope = msgspec.json.decode(body, type=ErrorEnvelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if envelope.error is not None:
        return read_error(envelope.error, now=now)
    text = envelope.detail if envelope.detail is not None else envelope.message
    if isinstance(text, dict):
        return read_error(text, now=now)
    return Said("", text) if isinstance(text, str) else None


def read_error(error: object, *, now: datetime) -> Said | None:
    """An error object; members of unexpected types count as missing."""
    if isinstance(error, str):
        return Said("", error)
    try:
        read = msgspec.convert(error, ErrorBody)
    except msgspec.ValidationError:
        return None
    code = _text(read.code) or _text(read.type)
    plan = _text(read.plan_type)[:CODE_CHARS_MAX]
    return Said(code.lower()[:CODE_CHARS_MAX], _text(read.message), plan, _reset(read, now))


def read_retry_after(value: str) -> float | None:
    """The header in seconds; its date form is not used by upstream and counts as missing."""
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= RESETS_WITHIN.total_seconds() else None


def read_wait(message: str) -> float | None:
    """How long to wait by the words of a message ("Please try again in 1m30s."), where nothing else says it."""
    found = _WAIT.search(message)
    if found is None:
        return None
    parts = ((float(number), unit.lower()) for number, unit in _WAIT_PART.findall(found[1]))
    seconds = sum(number * (UNIT_S["ms"] if unit == "ms" else UNIT_S[unit[0]]) for number, unit in parts)
    return seconds if seconds <= RESETS_WITHIN.total_seconds() else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _reset(read: ErrorBody, now: datetime) -> datetime | None:
    """The instant of the reset, if upstream gave a plausible one."""
    present = now.timestamp()
    # Compared before anything is computed: an integer in JSON may be too large for a float.
    if isinstance(read.resets_at, int | float) and not isinstance(read.resets_at, bool):
        if not present < read.resets_at <= present + RESETS_WITHIN.total_seconds():
            return None
        epoch_s = float(read.resets_at)
    elif isinstance(read.resets_in_seconds, int | float) and not isinstance(read.resets_in_seconds, bool):
        if not 0 < read.resets_in_seconds <= RESETS_WITHIN.total_seconds():
            return None
        epoch_s = present + read.resets_in_seconds
    else:
        return None
    # Rounded up to whole seconds: a second early is a refusal more, a second late is nothing.
    return datetime.fromtimestamp(-(-epoch_s // 1), UTC)
