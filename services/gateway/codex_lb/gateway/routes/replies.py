"""Answers without a turn: errors as OpenAI envelopes, small JSON documents."""

from __future__ import annotations

import math

from starlette.types import Send

from codex_lb.gateway.errors import (
    GatewayError,
    KeyLimitReachedError,
    UpstreamFailedError,
    UpstreamRefusedError,
    envelope,
)
from codex_lb.gateway.outcome import Blame
from codex_lb.gateway.upstream.headers import RawHeader


async def reply_error(send: Send, error: GatewayError, headers: list[RawHeader]) -> None:
    """An error with its status. Upstream's own words about the request go to the client unchanged."""
    body, content_type = envelope(error), b"application/json"
    if isinstance(error, UpstreamRefusedError | UpstreamFailedError):
        fault = error.fault
        if fault.blame in (Blame.CLIENT, Blame.MODEL) and is_envelope(fault.body):
            body = fault.body
    await reply(send, error.status, body, [*headers, *retry_of(error), *words_of(error)], content_type=content_type)


def retry_of(error: GatewayError) -> list[RawHeader]:
    """When it is worth asking again, as a header; nothing where it is not."""
    return [] if error.retry_after_s is None else [(b"retry-after", str(math.ceil(error.retry_after_s)).encode())]


def words_of(error: GatewayError) -> list[RawHeader]:
    """What Codex tells its user of a limit of ours, which it would otherwise take for one of ChatGPT's."""
    if not isinstance(error, KeyLimitReachedError) or error.resets_at is None:
        return []
    words, _, _ = str(error).partition(". Usage resets")  # it adds the time itself
    return [(b"x-codex-promo-message", words.encode("ascii", "replace"))]


async def reply(
    send: Send, status: int, body: bytes, headers: list[RawHeader], *, content_type: bytes = b"application/json"
) -> None:
    """A whole answer."""
    own = [*headers, (b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def is_envelope(body: bytes) -> bool:
    """Whether a body of upstream's is an error in the shape that clients read."""
    return body.lstrip().startswith(b'{"error"') or body.lstrip().startswith(b'{ "error"')
