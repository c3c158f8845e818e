"""`response.create` frames of clients to what upstream accepts, as a frame and as an HTTP request. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from codex_lb.gateway.errors import InvalidRequestError
from codex_lb.gateway.translate.key_terms import FREE, KeyTerms
from codex_lb.gateway.translate.model_alias import Catalog
from codex_lb.gateway.translate.responses import ResponsesTurn, native_turn, public_turn

CREATE = "response.create"
NOT_IN_A_FRAME = ("stream", "background")  # a socket streams by nature
ONLY_IN_A_FRAME = ("type", "generate", "previous_response_id")

Members = dict[str, msgspec.Raw]


class FrameHead(msgspec.Struct):
    """What is read of a frame before anything else."""

    type: str = ""
    generate: bool | None = None
    previous_response_id: str | None = None


@dataclass(frozen=True, slots=True)
class Create:
    """A turn asked for over a socket."""

    turn: ResponsesTurn
    frame: str  # for upstream's socket
    body: bytes  # for an HTTP request; empty when it cannot go as one
    previous_response_id: str


def read_head(frame: str) -> FrameHead:
    """What kind of frame it is. Raises InvalidRequestError when it is no JSON object."""
    try:
        return msgspec.json.decode(frame, type=FrameHead)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise InvalidRequestError("The frame is not a JSON object with a type") from error


def native_create(frame: str, head: FrameHead, catalog: Catalog, terms: KeyTerms = FREE) -> Create:
    """A frame of Codex: upstream understands it as it is, or nearly so."""
    data = frame.encode()
    turn = native_turn(data, catalog, terms, is_frame=True)
    text = frame if turn.body is data else turn.body.decode()
    return Create(turn, text, http_body(turn.body, head), (head.previous_response_id or "").strip())


def public_create(frame: str, head: FrameHead, catalog: Catalog, terms: KeyTerms = FREE) -> Create:
    """A frame of an SDK: its body is rewritten as a request's would be."""
    turn = public_turn(frame.encode(), catalog, terms)
    text = frame_of(turn.body)
    return Create(turn, text, http_body(text.encode(), head), (head.previous_response_id or "").strip())


def frame_of(body: bytes) -> str:
    """An HTTP request as a frame."""
    members = msgspec.json.decode(body, type=Members)
    for name in NOT_IN_A_FRAME:
        members.pop(name, None)
    members["type"] = msgspec.Raw(msgspec.json.encode(CREATE))
    return msgspec.json.encode(members).decode()


def http_body(frame: bytes, head: FrameHead) -> bytes:
    """The same turn as an HTTP request, which knows neither earlier responses nor warm-ups."""
    if head.generate is False or head.previous_response_id:
        return b""
    members = msgspec.json.decode(frame, type=Members)
    for name in ONLY_IN_A_FRAME:
        members.pop(name, None)
    members["stream"], members["store"] = msgspec.Raw(b"true"), msgspec.Raw(b"false")
    return msgspec.json.encode(members)
