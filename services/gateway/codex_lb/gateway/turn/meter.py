"""Reads what must be read of an answer: usage and identity out of terminal events, errors out of failures. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from codex_lb.gateway.outcome import Usage


class TokenDetails(msgspec.Struct):
    """Parts of a token count."""

    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class TokenUsage(msgspec.Struct):
    """The `usage` of a finished response."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: TokenDetails | None = None
    output_tokens_details: TokenDetails | None = None


class FinishedResponse(msgspec.Struct):
    """What is read of a terminal event's `response`; its output is skipped over."""

    id: str = ""
    usage: TokenUsage | None = None
    service_tier: str | None = None
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
    except (msgspec.DecodeError, RecursionError):
        return Finished("", None, "", None)
    response = event.response or FinishedResponse()
    error = _decoded(response.error) or _decoded(event.error)
    return Finished(response.id, usage_of(response.usage), response.service_tier or "", error)


def read_error_event(data: bytes) -> object:
    """The error of an `error` event, nested or flat; None when it cannot be read."""
    nested = read_terminal(data).error
    if nested is not None:
        return nested
    flat = _decoded(data)
    # `type` of a flat event is "error", which is no error code.
    return {k: v for k, v in flat.items() if k != "type"} if isinstance(flat, dict) else None


def usage_of(usage: TokenUsage | None) -> Usage | None:
    """Tokens; None when upstream did not say. Never estimated, and unknown is never zero."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    cached = usage.input_tokens_details.cached_tokens if usage.input_tokens_details else None
    reasoning = usage.output_tokens_details.reasoning_tokens if usage.output_tokens_details else None
    return Usage(
        input_tokens=max(0, usage.input_tokens),
        cached_input_tokens=min(max(0, cached or 0), max(0, usage.input_tokens)),
        output_tokens=max(0, usage.output_tokens),
        reasoning_tokens=max(0, reasoning or 0),
        total_tokens=max(0, usage.total_tokens or usage.input_tokens + usage.output_tokens),
    )


def _decoded(raw: msgspec.Raw | bytes) -> object:
    try:
        return msgspec.json.decode(raw) if bytes(raw) else None
    except (msgspec.DecodeError, RecursionError):
        return None
