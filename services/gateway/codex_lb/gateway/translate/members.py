"""JSON objects whose members keep their bytes: what nobody reads is passed on as it came. Pure."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from codex_lb.gateway.errors import UNREADABLE, InvalidRequestError

T = TypeVar("T")
Members = dict[str, msgspec.Raw]
WORD_BYTES_MAX = 256
# A word of a client's that travels in messages to control, which must stay small.
Word = Annotated[str, msgspec.Meta(max_length=WORD_BYTES_MAX)]

TRUE, FALSE = msgspec.Raw(b"true"), msgspec.Raw(b"false")


def read(raw: bytes | msgspec.Raw, kind: type[T], where: str = "") -> T:
    """The value in its type. Raises InvalidRequestError naming the member; `where` is the path of the value itself."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidRequestError("Invalid request payload", param=_path(where, str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError("The request body is not valid JSON", param=where or None) from error
    except RecursionError as error:
        raise InvalidRequestError("The request body is nested too deeply", param=where or None) from error


def written(value: object) -> msgspec.Raw:
    """The value as JSON."""
    return msgspec.Raw(msgspec.json.encode(value))


def is_given(raw: msgspec.Raw | None) -> bool:
    """Whether a member is there and not null."""
    return raw is not None and _start(raw, 5) not in (b"", b"null")


def is_text(raw: msgspec.Raw | bytes | None) -> bool:
    """Whether a member is a string."""
    return raw is not None and _start(raw, 1) == b'"'


def is_list(raw: msgspec.Raw | None) -> bool:
    """Whether a member is a list."""
    return raw is not None and _start(raw, 1) == b"["


def given(members: Members) -> Members:
    """The members that are not null."""
    return {name: raw for name, raw in members.items() if is_given(raw)}


def word(raw: msgspec.Raw | None) -> str:
    """A short string, empty for anything else."""
    if raw is None or memoryview(raw).nbytes > WORD_BYTES_MAX:
        return ""
    try:
        return msgspec.json.decode(raw, type=str)
    except UNREADABLE:
        return ""


def _start(raw: msgspec.Raw | bytes, size: int) -> bytes:
    """The first bytes; the whole may be an image of megabytes."""
    return bytes(memoryview(raw)[:size])


def _path(where: str, problem: str) -> str | None:
    """`where` and the path in msgspec's message, such as `model` out of "Expected `str`, got `int` - at `$.model`"."""
    _, _, inner = problem.partition("at `$")
    inner, _, _ = inner.rstrip("`").partition("[...]")  # what follows is a key that the client chose
    return (where + inner).lstrip(".") or None
