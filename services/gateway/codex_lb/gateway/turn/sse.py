"""Cuts an upstream event stream into segments, reading of each event no more than its first line.

Runs of events that nobody needs to read come out as one piece of bytes, where possible the very object that came in.
Each byte is looked at once, or twice at the end of a chunk; an event has a size bound, and only whole events come out, so that whatever is appended to
what was forwarded starts on an event boundary. Line ends are LF, CRLF or CR, as in the HTML standard, 9.2.5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

import msgspec


class Kind(Enum):
    """What an event means to a turn."""

    ORDINARY = auto()  # output: forwarded unread
    PRELUDE = auto()  # said before any output: nothing a client could hold us to
    COMMENT = auto()
    RATE_LIMITS = auto()
    PRIVATE = auto()  # codex.*: for Codex only
    ITEM_DONE = auto()  # response.output_item.done: forwarded unread, but kept by whoever folds the answer
    COMPLETED = auto()
    INCOMPLETE = auto()
    FAILED = auto()
    ERROR = auto()
    DONE = auto()  # data: [DONE]


BY_TYPE: dict[str, Kind] = {
    "response.created": Kind.PRELUDE,
    "response.in_progress": Kind.PRELUDE,
    "response.queued": Kind.PRELUDE,
    "response.metadata": Kind.PRELUDE,
    "codex.rate_limits": Kind.RATE_LIMITS,
    "response.output_item.done": Kind.ITEM_DONE,
    "response.completed": Kind.COMPLETED,
    "response.done": Kind.COMPLETED,
    "response.incomplete": Kind.INCOMPLETE,
    "response.failed": Kind.FAILED,
    "error": Kind.ERROR,
    "keepalive": Kind.COMMENT,
}

# The first lines met so far; upstream writes `event: <type>` first, so nearly every event is known by a dictionary.
_BY_FIRST_LINE: dict[bytes, Kind] = {b"event: " + name.encode(): kind for name, kind in BY_TYPE.items()}
for _delta in (
    "output_text.delta", "output_text.done", "content_part.added", "content_part.done", "output_item.added",
    "function_call_arguments.delta", "function_call_arguments.done", "custom_tool_call_input.delta",
    "custom_tool_call_input.done", "reasoning_summary_part.added", "reasoning_summary_part.done",
    "reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_text.delta", "reasoning_text.done",
    "refusal.delta", "refusal.done",
):  # fmt: skip
    _BY_FIRST_LINE[b"event: response." + _delta.encode()] = Kind.ORDINARY

# Deltas one after another, as upstream writes them: most of every stream, passed in one step.
_DELTAS = re.compile(
    rb"(?:event: response\.(?:output_text|reasoning_text|reasoning_summary_text|function_call_arguments"
    rb"|custom_tool_call_input|refusal)\.delta\ndata: [^\n]*+\n\n)++"
)

# Two line ends in a row. A CR that stands before an LF is no line end of its own.
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_OVERLAP = 3  # bytes of a boundary that may have come with the chunk before


class EventTooLargeError(Exception):
    """An event grew beyond the bound."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One event of a kind, or a run of ordinary ones: as it stands in an event stream, or as a WebSocket's frame."""

    kind: Kind
    raw: bytes
    frame: str | None = None

    @property
    def data(self) -> bytes:
        """The JSON of a single event."""
        return data_of(self.raw) if self.frame is None else self.frame.encode()


class EventScanner:
    """Takes chunks as they come, gives segments."""

    def __init__(self, *, event_bytes_max: int) -> None:
        self._event_bytes_max = event_bytes_max
        self._pending = bytearray()  # the beginning of an event whose end has not come
        self._searched = 0  # bytes of it that hold no boundary
        self._has_cr = False  # whether it holds a CR; asked of each chunk once, or a long event would cost its square

    @property
    def has_partial(self) -> bool:
        """Whether an event has begun and not ended."""
        return bool(self._pending.strip())

    def feed(self, chunk: bytes) -> list[Segment]:
        """The events that the chunk completes. Raises EventTooLargeError."""
        has_cr = self._has_cr or b"\r" in chunk
        if not self._pending:
            segments, consumed = self._cut(chunk, 0, has_cr=has_cr)
            rest = bytearray(memoryview(chunk)[consumed:]) if consumed < len(chunk) else self._pending
        else:
            rest = self._pending
            rest += chunk
            segments, consumed = self._cut(rest, max(0, self._searched - _OVERLAP), has_cr=has_cr)
            if consumed:
                del rest[:consumed]
        self._has_cr = has_cr and (not consumed or b"\r" in rest)
        self._keep(rest)
        return segments

    def _keep(self, pending: bytearray) -> None:
        if len(pending) > self._event_bytes_max:
            raise EventTooLargeError
        self._pending = pending
        self._searched = len(pending)

    def _cut(self, data: bytes | bytearray, search_from: int, *, has_cr: bool) -> tuple[list[Segment], int]:
        """Whole events of the data, and how many bytes they are."""
        if has_cr:
            return self._cut_any_line_end(data, search_from)
        segments: list[Segment] = []
        start = run = 0  # of this event; of the run of ordinary events before it
        find, known = data.find, _BY_FIRST_LINE.get
        end = find(b"\n\n", search_from)
        while end >= 0:
            end += 2
            kind = known(bytes(data[start : find(b"\n", start)])) or kind_of(bytes(data[start:end]))
            if kind is not Kind.ORDINARY:
                if run < start:
                    segments.append(Segment(Kind.ORDINARY, bytes(data[run:start])))
                segments.append(Segment(kind, bytes(data[start:end])))
                run = end
            start = end
            if deltas := _DELTAS.match(data, start):
                start = deltas.end()
            end = find(b"\n\n", start)
        if run < start:
            whole = run == 0 and start == len(data) and isinstance(data, bytes)
            segments.append(Segment(Kind.ORDINARY, data if whole else bytes(data[run:start])))  # type: ignore[arg-type]
        return segments, start

    def _cut_any_line_end(self, data: bytes | bytearray, search_from: int) -> tuple[list[Segment], int]:
        segments: list[Segment] = []
        start = 0
        for boundary in _BLANK_LINE.finditer(data, search_from):
            if boundary.end() <= start:
                continue
            raw = bytes(data[start : boundary.end()])
            segments.append(Segment(kind_of(raw), raw))
            start = boundary.end()
        return segments, start


class _Typed(msgspec.Struct):
    type: str = ""


def kind_of(raw: bytes) -> Kind:
    """An event's kind by its `event` field or else its data's `type`; what nobody knows is ordinary."""
    name = ""
    data: list[bytes] = []
    has_field = False
    for line in _LINE_END.split(raw):
        if not line or line.startswith(b":"):
            continue
        has_field = True
        if line.startswith(b"event:"):  # the first counts, as where only the first line is looked at
            name = name or line[6:].strip().decode("utf-8", "replace")
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
    if not has_field:
        return Kind.COMMENT
    if not name:
        name = _type_of(b"\n".join(data))
    if name.startswith("codex."):
        return BY_TYPE.get(name, Kind.PRIVATE)
    return BY_TYPE.get(name, Kind.ORDINARY)


def _type_of(data: bytes) -> str:
    if data.strip() == b"[DONE]":
        return "[DONE]"
    try:
        return msgspec.json.decode(data, type=_Typed).type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def data_of(raw: bytes) -> bytes:
    """The data of an event: its data lines joined by LF."""
    lines = _LINE_END.split(raw)
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))


BY_TYPE["[DONE]"] = Kind.DONE


_FRAME_START = '{"type":"'


def segment_of_frame(frame: str) -> Segment:
    """A WebSocket's frame: one event as JSON. Upstream writes its type first, so that is where it is looked for."""
    if frame.startswith(_FRAME_START):
        name = frame[len(_FRAME_START) : frame.find('"', len(_FRAME_START))]
    else:
        name = _type_of(frame.encode())
    kind = BY_TYPE.get(name)
    if kind is None:
        kind = Kind.PRIVATE if name.startswith("codex.") else Kind.ORDINARY
    return Segment(kind, b"", frame)


def event_of_frame(frame: str) -> bytes:
    """A frame as an event of a stream."""
    name = _type_of(frame.encode())
    return b"event: " + name.encode() + b"\ndata: " + frame.encode() + b"\n\n"


def frames_of_segment(segment: Segment) -> list[str]:
    """The frames that a segment is, whichever way it came; comments are none."""
    if segment.frame is not None:
        return [segment.frame]
    events = _BLANK_LINE.split(segment.raw)
    return [data.decode("utf-8", "replace") for event in events if (data := data_of(event)) and data != b"[DONE]"]
