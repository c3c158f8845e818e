"""What was answered to clients that expect us to remember it.

Upstream stores nothing, but the public API does unless told otherwise: `previous_response_id` continues an answer with only
what is new, `item_reference` names an item of one. What such clients were answered is kept for a while, in the memory of
this replica, and put back in full. What is forgotten, or was answered elsewhere, is told as upstream would tell it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from codex_lb.gateway.errors import UNREADABLE
from codex_lb.kit.needle import Needle

PREVIOUS, REFERENCE = Needle(b'"previous_response_id"'), Needle(b'"item_reference"')
BYTES_MAX = 32 * 2**20  # of items; conversations that rely on this are short, or would rather send themselves

Members = dict[str, msgspec.Raw]


class Wants(msgspec.Struct):
    """What is read of a request to see whether it relies on memory."""

    previous_response_id: object = None
    input: msgspec.Raw = msgspec.Raw(b"null")


class Item(msgspec.Struct):
    """What is read of an item."""

    type: object = None
    id: object = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A conversation up to and with an answer, as items in JSON."""

    items: tuple[bytes, ...]
    size: int


class MemoryAnswers:
    """Answers by API key and response id; whatever was used longest ago is forgotten first."""

    def __init__(self, *, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._answers: OrderedDict[tuple[str, str], Answer] = OrderedDict()
        self._items: dict[tuple[str, str], tuple[str, bytes]] = {}  # item id -> the response it came with, and itself

    def remember(self, scope: str, response_id: str, before: Sequence[bytes], answered: Sequence[bytes]) -> None:
        """Keeps an answer for whoever holds the scope (an API key)."""
        items = (*before, *answered)
        size = sum(map(len, items))
        if not response_id or size > self._bytes_max:
            return
        self._answers[scope, response_id] = Answer(items, size)
        self._bytes += size
        for item in answered:
            if item_id := _id_of(item):
                self._items[scope, item_id] = (response_id, item)
        while self._bytes > self._bytes_max:
            self._forget_oldest()

    def before(self, scope: str, response_id: str) -> tuple[bytes, ...] | None:
        """The conversation that a response ended; None when it is not remembered."""
        answer = self._answers.get((scope, response_id))
        if answer is None:
            return None
        self._answers.move_to_end((scope, response_id))
        return answer.items

    def item(self, scope: str, item_id: str) -> bytes | None:
        """An item that was answered; None when it is not remembered."""
        known = self._items.get((scope, item_id))
        return known[1] if known else None

    def _forget_oldest(self) -> None:
        (scope, response_id), answer = self._answers.popitem(last=False)
        self._bytes -= answer.size
        for item in answer.items:
            item_id = _id_of(item)
            if item_id and self._items.get((scope, item_id), ("", b""))[0] == response_id:
                del self._items[scope, item_id]


def recalled(body: bytes, answers: MemoryAnswers, scope: str) -> tuple[bytes, str]:
    """The body with what it refers to put back in full, and the response it continues; as it came where it refers to
    nothing, or nothing of it is remembered.
    """
    if not (PREVIOUS.is_in(body) or REFERENCE.is_in(body)):
        return body, ""
    wants = _read(body)
    items = input_items(body)
    if wants is None or items is None:
        return body, ""
    continues = wants.previous_response_id.strip() if isinstance(wants.previous_response_id, str) else ""
    before = answers.before(scope, continues) if continues else ()
    if before is None:
        return body, ""
    members = msgspec.json.decode(body, type=Members)
    members.pop("previous_response_id", None)
    put_back = [*before, *(_resolved(item, answers, scope) for item in items)]
    members["input"] = msgspec.Raw(msgspec.json.encode([msgspec.Raw(item) for item in put_back]))
    return msgspec.json.encode(members), continues


def input_items(body: bytes) -> list[bytes] | None:
    """The input of a request as items; None when it cannot be read as such."""
    wants = _read(body)
    if wants is None:
        return None
    raw = bytes(wants.input)
    try:
        if raw[:1] == b'"':
            text = msgspec.json.decode(raw, type=str)
            message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
            return [msgspec.json.encode(message)]
        return [bytes(item) for item in msgspec.json.decode(raw, type=list[msgspec.Raw])]
    except UNREADABLE:
        return None


def _resolved(item: bytes, answers: MemoryAnswers, scope: str) -> bytes:
    if not REFERENCE.is_in(item):
        return item
    return answers.item(scope, _id_of(item)) or item


def _read(body: bytes) -> Wants | None:
    try:
        return msgspec.json.decode(body, type=Wants)
    except UNREADABLE:
        return None


def _id_of(item: bytes) -> str:
    try:
        read = msgspec.json.decode(item, type=Item)
    except UNREADABLE:
        return ""
    return read.id if isinstance(read.id, str) else ""
