"""Responses requests of clients to what upstream accepts. Pure.

Only the members named here are read or changed; everything else, known or not, keeps its bytes.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from codex_lb.gateway.errors import InvalidRequestError

# Members that upstream answers with "Unsupported parameter" (data-plane reference 1.5).
NOT_FOR_UPSTREAM = (
    "max_output_tokens",
    "metadata",
    "prompt_cache_retention",
    "safety_identifier",
    "temperature",
    "top_p",
    "truncation",
    "user",
)
TRUE, FALSE = msgspec.Raw(b"true"), msgspec.Raw(b"false")
Members = dict[str, msgspec.Raw]
# A word of a client's that travels in messages to control: one that fills such a message would break the stream, and
# as part of an unsettled report break it again for ever.
Word = Annotated[str, msgspec.Meta(max_length=256)]


class Reasoning(msgspec.Struct):
    """What is read of `reasoning`."""

    effort: Word | None = None


class ResponsesRequest(msgspec.Struct):
    """What is read of a request; wrong types in these members are refused."""

    model: Word = ""
    stream: bool | None = None
    store: bool | None = None
    service_tier: Word | None = None
    reasoning: Reasoning | None = None
    prompt_cache_key: str | None = None
    previous_response_id: str | None = None


def read_request(body: bytes) -> ResponsesRequest:
    """The members the gateway acts on. Raises InvalidRequestError naming the member."""
    try:
        request = msgspec.json.decode(body, type=ResponsesRequest)
    except msgspec.ValidationError as error:
        raise InvalidRequestError("Invalid request payload", param=_member(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError("The request body is not valid JSON") from error
    except RecursionError as error:
        raise InvalidRequestError("The request body is nested too deeply") from error
    if not request.model.strip():
        raise InvalidRequestError("Invalid request payload", param="model")
    return request


def native_body(body: bytes, request: ResponsesRequest) -> bytes:
    """A Codex request for upstream: as it came, unless it asks for what upstream refuses."""
    if request.stream is True and request.store is False:
        return body
    members = _members(body)
    members["stream"], members["store"] = TRUE, FALSE
    return msgspec.json.encode(members)


def public_body(body: bytes) -> bytes:
    """A request in the public dialect for upstream, which streams, stores nothing and takes lists only."""
    members = _members(body)
    for name in NOT_FOR_UPSTREAM:
        members.pop(name, None)
    members["stream"], members["store"] = TRUE, FALSE
    members["input"] = _input(members.get("input"))
    if bytes(members.get("service_tier", b"")) == b'"fast"':
        members["service_tier"] = msgspec.Raw(b'"priority"')
    if bytes(members.get("instructions", b"")) in (b"", b"null"):
        members["instructions"] = msgspec.Raw(b'""')
    return msgspec.json.encode(members)


def _input(raw: msgspec.Raw | None) -> msgspec.Raw:
    """The input as a list of items without the role upstream refuses."""
    if raw is None or bytes(raw) == b"null":
        raise InvalidRequestError("Invalid request payload", param="input")
    first = bytes(raw).lstrip()[:1]
    if first == b'"':
        try:
            text = msgspec.json.decode(raw, type=str)
        except UnicodeDecodeError as error:
            raise InvalidRequestError("Invalid request payload", param="input") from error
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        return msgspec.Raw(msgspec.json.encode([item]))
    if first != b"[":
        raise InvalidRequestError("Invalid request payload", param="input")
    if b'"system"' not in bytes(raw):
        return raw
    try:
        items = msgspec.json.decode(raw, type=list[dict[str, msgspec.Raw]])
    except (msgspec.ValidationError, UnicodeDecodeError) as error:
        raise InvalidRequestError("Invalid request payload", param="input") from error
    return msgspec.Raw(msgspec.json.encode([_developer(item) for item in items]))


def _developer(item: Members) -> Members:
    """Upstream refuses the role `system`; `developer` is its own word for the same."""
    if bytes(item.get("role", b"")) == b'"system"':
        return {**item, "role": msgspec.Raw(b'"developer"')}
    return item


def _members(body: bytes) -> Members:
    try:
        return msgspec.json.decode(body, type=Members)
    except msgspec.ValidationError as error:
        raise InvalidRequestError("The request body must be a JSON object") from error
    except UnicodeDecodeError as error:
        raise InvalidRequestError("The request body is not valid JSON") from error


def _member(problem: str) -> str | None:
    """The path in msgspec's message, such as `model` out of "Expected `str`, got `int` - at `$.model`"."""
    _, found, path = problem.rpartition("at `$")
    return path.rstrip("`").lstrip(".") or None if found else None
