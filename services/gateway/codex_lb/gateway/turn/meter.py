"""Reads what must be read of an answer: usage and identity out of terminal events, errors out of failures. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from codex_lb.gateway.outcome import Usage

T = TypeVar("T")


TOKENS_MAX = 2**53  # beyond is no count but a mistake, and none of our messages could carry it
WORD_CHARS_MAX = 256  # of an id or a tier: they travel with the settlement, and a message to control has a bound


class TokenDetails(msgspec.Struct):
    """Parts of a token count."""

    cached_tokens: object = None
    reasoning_tokens: object = None


class TokenUsage(msgspec.Struct):
    """The `usage` of a finished response. Anything may be missing or of another type."""

    input_tokens: object = None
    output_tokens: object = None
    total_tokens: object = None
    input_tokens_details: object = None
    output_tokens_details: object = None


class FinishedResponse(msgspec.Struct):
    """What is read of a terminal event's `response`; its output is skipped over."""

    id: object = None
    usage: object = None
    service_tier: object = None
    error: msgspec.Raw = msgspec.Raw()


class TerminalEvent(msgspec.Struct):
    """A terminal event, or a top-level `error` whose members stand nested or flat."""

    response: FinishedResponse | None = None
    error: msgspec.Raw = msgspec.Raw()


@dataclass(frozen=True, slots=True)
class Finished:
    """A terminal event read."""

    response_id: str
    usage: Usage | None
    service_tier: str
    error: object  # the error object as decoded JSON; None without one


def read_terminal(data: bytes) -> Finished:
    """The end of an answer. What cannot be read counts as not said: the stream ended well all the same."""
    try:
        event = msgspec.json.decode(data, type=TerminalEvent)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Finished("", None, "", None)
    response = event.response or FinishedResponse()
    error = _decoded(response.error) or _decoded(event.error)
    return Finished(_word(response.id), usage_of(response.usage), _word(response.service_tier), error)


def read_error_event(data: bytes) -> object:
    """The error of an `error` event, nested or flat; None when it cannot be read."""
    nested = read_terminal(data).error
    if nested is not None:
        return nested
    flat = _decoded(data)
    # `type` of a flat event is "error", which is no error code.
    return {k: v for k, v in flat.items() if k != "type"} if isinstance(flat, dict) else None


def usage_of(value: object) -> Usage | None:
    """Tokens; None when upstream did not say. Never estimated, and unknown is never zero."""
    usage = _read(value, TokenUsage)
    if usage is None:
        return None
    given, made = _tokens(usage.input_tokens), _tokens(usage.output_tokens)
    if given is None or made is None:
        return None
    of_input = _read(usage.input_tokens_details, TokenDetails) or TokenDetails()
    of_output = _read(usage.output_tokens_details, TokenDetails) or TokenDetails()
    return Usage(
        input_tokens=given,
        cached_input_tokens=min(_tokens(of_input.cached_tokens) or 0, given),
        output_tokens=made,
        reasoning_tokens=_tokens(of_output.reasoning_tokens) or 0,
        total_tokens=_tokens(usage.total_tokens) or given + made,
    )


def _tokens(value: object) -> int | None:
    """A count, None when it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= TOKENS_MAX and value == int(value) else None


def _word(value: object) -> str:
    return value[:WORD_CHARS_MAX] if isinstance(value, str) else ""


def _read(value: object, kind: type[T]) -> T | None:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None


def _decoded(raw: msgspec.Raw | bytes) -> object:
    try:
        return msgspec.json.decode(raw) if bytes(raw) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
