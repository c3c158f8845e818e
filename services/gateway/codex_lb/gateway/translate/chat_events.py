"""Upstream's events as the chunks of a streamed chat completion. Pure: bytes in, bytes out.

A chunk differs from the one before it only in its delta, so the rest is written once, and the text of a delta is never
decoded: its JSON string goes from the event into the chunk as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

from codex_lb.gateway.errors import UNREADABLE
from codex_lb.gateway.translate.chat_answer import (
    CALLS,
    AnswerHead,
    Item,
    Response,
    encrypted_detail,
    finish_reason,
    items_in,
    sealed_in,
    usage_of,
)
from codex_lb.gateway.translate.chat_messages import REASONING_FORMAT, Thought
from codex_lb.gateway.translate.members import is_text

CONTENT: Final = b'"content":'
REFUSAL: Final = b'"refusal":'
DONE: Final = b"data: [DONE]\n\n"
NOTHING: Final = msgspec.Raw()
_encode: Final = msgspec.json.Encoder().encode


class TextDelta(msgspec.Struct, gc=False):
    """A piece of a message's text or refusal."""

    delta: msgspec.Raw = NOTHING
    output_index: int = 0


class ThoughtDelta(msgspec.Struct, gc=False):
    """A piece of a reasoning summary, or of reasoning in the clear."""

    delta: msgspec.Raw = NOTHING
    item_id: str | None = None
    output_index: int = 0
    summary_index: int = 0


class CallDelta(msgspec.Struct, gc=False):
    """A piece of a call's arguments, or all of them."""

    delta: msgspec.Raw = NOTHING
    arguments: str | None = None
    input: str | None = None
    item_id: str = ""
    call_id: str = ""
    output_index: int = -1


class ItemEvent(msgspec.Struct, gc=False):
    """An item that begins or is whole."""

    item: Item
    output_index: int = -1


class TerminalEvent(msgspec.Struct, gc=False):
    """The end."""

    response: Response


@dataclass(slots=True)
class _Call:
    """A tool call as far as the client knows it."""

    index: int = -1  # among those the client knows
    is_custom: bool = False
    call_id: str = ""
    pieces: list[bytes] = field(default_factory=list)  # JSON strings, in the order they came
    is_whole: bool = False

    @property
    def is_announced(self) -> bool:
        """Whether the client knows its id and its name."""
        return self.index >= 0


@dataclass(slots=True)
class _Thought:
    """A reasoning item as far as the client knows it."""

    index: int
    behind: bytes  # what follows a piece of its summary
    part: int = -1  # of the summary, the last one begun
    is_sealed: bool = False  # the client has the encrypted item


class ChatChunks:
    """One answer. Events that cannot be read or that say nothing to a chat client give no bytes."""

    def __init__(self, head: AnswerHead, *, includes_usage: bool) -> None:
        known = {"id": head.answer_id, "object": "chat.completion.chunk", "created": head.created, "model": head.model}
        self._frame = b"data: " + _encode(known)[:-1]
        self._open_next = self._frame + b',"choices":[{"index":0,"delta":{'
        self._open = self._open_next + b'"role":"assistant",'  # the first delta says who speaks
        self._usage_null = b',"usage":null' if includes_usage else b""
        self._close = b'},"finish_reason":null}]' + self._usage_null + b"}\n\n"
        self._includes_usage = includes_usage
        self._told: set[int] = set()  # output indexes of messages whose text was sent
        self._calls: list[_Call] = []  # those announced
        self._call_by: dict[str | int, _Call] = {}  # output index, call id, item id
        self._thoughts: dict[int, _Thought] = {}  # by output index
        self.sealed: list[Thought] = []  # reasoning that upstream would take back
        self._has_thought = False
        self._has_content = False

    @property
    def call_ids(self) -> list[str]:
        """The calls that the client knows of."""
        return [call.call_id for call in self._calls]

    def take(self, name: bytes, data: bytes) -> bytes:
        """The chunks that an event becomes; none if it cannot be read."""
        try:
            return self._take(name, data)
        except UNREADABLE:
            return b""

    def finish(self, data: bytes) -> bytes:
        """The last chunks, out of the terminal event. Raises one of UNREADABLE."""
        response = _terminal_event(data).response
        said = b""
        if not self._told and not self._calls:  # an answer that came in its last event only
            said = b"".join(self._item(n, item) for n, item in enumerate(items_in(response.output or ())))
        is_silent = self._open is not self._open_next
        delta = b'"role":"assistant","content":""' if is_silent else b""
        reason = _encode(finish_reason(response, has_calls=bool(self._calls)))
        last = b"".join((self._open_next, delta, b'},"finish_reason":', reason, b"}]", self._usage_null, b"}\n\n"))
        usage = usage_of(response.usage)
        if not self._includes_usage or usage is None:
            return said + last + DONE
        return b"".join((said, last, self._frame, b',"choices":[],"usage":', _encode(usage), b"}\n\n", DONE))

    def _take(self, name: bytes, data: bytes) -> bytes:
        match name:
            case b"response.output_text.delta":
                event = _text_delta(data)
                return self._say(CONTENT, event.delta, event.output_index)
            case b"response.function_call_arguments.delta" | b"response.custom_tool_call_input.delta":
                return self._arguments(_call_delta(data))
            case b"response.reasoning_summary_text.delta" | b"response.reasoning_text.delta":
                return self._summary(_thought_delta(data))
            case b"response.refusal.delta":
                event = _text_delta(data)
                return self._say(REFUSAL, event.delta, event.output_index)
            case b"response.output_item.added":
                return self._item_added(_item_event(data))
            case b"response.function_call_arguments.done" | b"response.custom_tool_call_input.done":
                return self._arguments_done(_call_delta(data))
            case b"response.output_item.done":
                done = _item_event(data)
                return self._item(done.output_index, done.item)
            case _:
                return b""

    def _chunk(self, *delta: bytes | msgspec.Raw) -> bytes:
        opened, self._open = self._open, self._open_next
        return b"".join((opened, *delta, self._close))

    def _say(self, member: bytes, text: msgspec.Raw | bytes, output_index: int) -> bytes:
        if not is_text(text):
            return b""
        if output_index not in self._told:
            self._told.add(output_index)
            if member is CONTENT:
                text, self._has_content = _paragraph(text) if self._has_content else text, True
        return self._chunk(member, text)

    def _summary(self, event: ThoughtDelta) -> bytes:
        if not is_text(event.delta):
            return b""
        thought = self._thought(event.output_index, event.item_id)
        begins, thought.part = thought.part < 0, max(thought.part, 0)
        if event.summary_index > thought.part:
            thought.part = event.summary_index
            return self._think(_paragraph(event.delta), thought, begins=begins)
        return self._think(event.delta, thought, begins=begins)

    def _think(self, text: bytes | msgspec.Raw, thought: _Thought, *, begins: bool) -> bytes:
        """A piece of a summary in both of its forms; the plain one runs on from thought to thought."""
        details = b',"reasoning_details":[{"type":"reasoning.summary","summary":'
        plain = _paragraph(text) if begins and self._has_thought else text
        self._has_thought = True
        return self._chunk(b'"reasoning_content":', plain, details, text, thought.behind)

    def _thought(self, output_index: int, item_id: str | None) -> _Thought:
        thought = self._thoughts.get(output_index)
        if thought is None:
            index = len(self._thoughts)
            about = {"id": item_id, "format": REASONING_FORMAT, "index": index}
            thought = self._thoughts[output_index] = _Thought(index, b"," + _encode(about)[1:] + b"]")
        return thought

    def _arguments(self, event: CallDelta) -> bytes:
        if not is_text(event.delta):
            return b""
        call = self._call(event.output_index, event.call_id, event.item_id)
        call.pieces.append(bytes(event.delta))
        if not call.is_announced or call.is_whole:
            return b""
        return self._chunk(*_argument_pieces(call, event.delta))

    def _arguments_done(self, event: CallDelta) -> bytes:
        call = self._call(event.output_index, event.call_id, event.item_id)
        whole = event.arguments if event.arguments is not None else event.input
        return self._completed(call, whole) if call.is_announced and whole is not None else b""

    def _call(self, output_index: int, call_id: str, item_id: str) -> _Call:
        """The call that any of the three names, so that one call never becomes two."""
        by = self._call_by
        call = by.get(call_id) or by.get(output_index) or by.get(item_id)
        if call is None or (call_id and call.call_id and call.call_id != call_id):
            call = _Call()
        for alias in (call_id, item_id):
            if alias:
                by[alias] = call
        if output_index >= 0:
            by[output_index] = call
        return call

    def _item_added(self, event: ItemEvent) -> bytes:
        item = event.item
        if item.type == "reasoning":
            self._thought(event.output_index, item.id)
        if item.type not in CALLS:
            return b""
        return self._announced(event.output_index, item)

    def _item(self, output_index: int, item: Item) -> bytes:
        """The whole item: what was not told yet is told now."""
        if item.type in CALLS:
            announced = self._announced(output_index, item)
            call = self._call(output_index, item.call_id or "", item.id or "")
            whole = item.input if call.is_custom else item.arguments
            return announced + (self._completed(call, whole) if call.is_announced and whole is not None else b"")
        if item.type == "message" and output_index not in self._told:
            said = self._say(CONTENT, _encode(item.text), output_index) if item.text else b""
            return said + (self._say(REFUSAL, _encode(item.refusal), output_index) if item.refusal else b"")
        return self._thought_done(output_index, item) if item.type == "reasoning" else b""

    def _announced(self, output_index: int, item: Item) -> bytes:
        """The call's id and name, once, and the arguments that came before them."""
        call = self._call(output_index, item.call_id or "", item.id or "")
        if call.is_announced or not item.name:
            return b""
        call.index, call.is_custom = len(self._calls), item.type == "custom_tool_call"
        self._calls.append(call)
        call.call_id = item.call_id or item.id or f"call_{call.index}"
        of = {"name": item.name, "input" if call.is_custom else "arguments": _text_of(call.pieces)}
        kind = "custom" if call.is_custom else "function"
        told = {"index": call.index, "id": call.call_id, "type": kind, kind: of}
        return self._chunk(b'"tool_calls":', _encode([told]))

    def _completed(self, call: _Call, whole: str) -> bytes:
        """The end of the arguments, if pieces of it did not come. What was sent stays, whatever upstream says now."""
        if call.is_whole:
            return b""
        call.is_whole = True
        sent = _text_of(call.pieces)
        if len(whole) <= len(sent) or not whole.startswith(sent):
            return b""
        rest = _encode(whole[len(sent) :])
        return self._chunk(*_argument_pieces(call, rest))

    def _thought_done(self, output_index: int, item: Item) -> bytes:
        thought = self._thought(output_index, item.id)
        told = b""
        if item.thought and thought.part < 0:
            thought.part = 0
            told = self._think(_encode(item.thought), thought, begins=True)
        if item.encrypted_content and not thought.is_sealed:
            thought.is_sealed = True
            if sealed := sealed_in(item):
                self.sealed.append(sealed)
            detail = encrypted_detail(item.encrypted_content, item.id, thought.index)
            told += self._chunk(b'"reasoning_details":', _encode([detail]))
        return told


def _paragraph(text: bytes | msgspec.Raw) -> bytes:
    """A JSON string with a blank line before it."""
    return b'"\\n\\n' + bytes(text)[1:]


def _argument_pieces(call: _Call, text: bytes | msgspec.Raw) -> tuple[bytes | msgspec.Raw, ...]:
    member = b'"custom":{"input":' if call.is_custom else b'"function":{"arguments":'
    return b'"tool_calls":[{"index":%d,' % call.index, member, text, b"}}]"


def _text_of(pieces: list[bytes]) -> str:
    return "".join(msgspec.json.decode(piece, type=str) for piece in pieces)


_text_delta: Final = msgspec.json.Decoder(TextDelta).decode
_thought_delta: Final = msgspec.json.Decoder(ThoughtDelta).decode
_call_delta: Final = msgspec.json.Decoder(CallDelta).decode
_item_event: Final = msgspec.json.Decoder(ItemEvent).decode
_terminal_event: Final = msgspec.json.Decoder(TerminalEvent).decode
