"""What a stream adds up to under a step: the good answer, bent. Pure."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, assert_never

from tests.support.simulator.answers import Answer, Event, event
from tests.support.simulator.steps import (
    Close,
    Complete,
    CutAfter,
    CutBeforeOutput,
    Eof,
    Error,
    Failed,
    Garbage,
    Hang,
    Incomplete,
    Strange,
    Stream,
)

_PREAMBLE: Final = ("response.created", "response.in_progress")
_STRANGE_DATA: Final = b'{"type":"response.future_thing","of":{"the":["year",3000]},"big":12345678901234567890}'
_GARBAGE: Final = Event("response.output_text.delta", b"{not json")
_STRANGE: Final = Event("response.future_thing", _STRANGE_DATA)


class After(Enum):
    """What happens once the events are out."""

    END = auto()  # a clean end of the body; over a WebSocket the socket stays open
    EOF = auto()  # a clean end without a terminal event; over a WebSocket a close frame
    CUT = auto()  # the connection goes
    HANG = auto()  # silence until the caller goes


@dataclass(frozen=True, slots=True)
class Playback:
    """The events to send, and what follows them."""

    events: list[Event]
    after: After = After.END
    cut_after_bytes: int | None = None
    close_code: int = 1000


def playback(answer: Answer, end: Stream) -> Playback:
    """The answer as the step wants it."""
    events = answer.events
    preamble = [event for event in events[:2] if event.type in _PREAMBLE]
    match end:
        case Complete():
            return Playback(events)
        case Hang():
            return Playback([], After.HANG)
        case Failed(code=code, is_first=is_first):
            before = [] if is_first else preamble
            return Playback([*before, _failed(answer, code, len(before))])
        case Error(code=code, is_first=is_first):
            before = [] if is_first else preamble
            return Playback([*before, _error(code, len(before))])
        case Incomplete(reason=reason):
            return Playback([*events[:-1], _incomplete(answer, reason, len(events) - 1)])
        case CutAfter(body_bytes=body_bytes):
            return Playback(events, After.CUT, cut_after_bytes=body_bytes)
        case CutBeforeOutput():
            return Playback(preamble, After.CUT)
        case Eof():
            return Playback(events[:-1], After.EOF)
        case Garbage():
            return Playback([*events[:-1], _GARBAGE, events[-1]])
        case Strange():
            return Playback([*preamble, _STRANGE, *events[len(preamble) :]])
        case Close(code=code):
            return Playback(events[: first_output(events) + 1], After.EOF, close_code=code)
        case _:
            assert_never(end)


def first_output(events: list[Event]) -> int:
    """Where the first delta of the answer proper stands; without one, the event before the last."""
    deltas = (n for n, event in enumerate(events) if event.type.endswith(".delta") and "reasoning" not in event.type)
    return next(deltas, max(0, len(events) - 2))


def _failed(answer: Answer, code: str, sequence_number: int) -> Event:
    error = {"code": code, "message": f"simulated failure {code}. Please try again in 1s."}
    response = {**answer.envelope, "status": "failed", "error": error}
    return event("response.failed", sequence_number, response=response)


def _error(code: str, sequence_number: int) -> Event:
    return event("error", sequence_number, code=code, message=f"simulated error {code}", param=None)


def _incomplete(answer: Answer, reason: str, sequence_number: int) -> Event:
    response = {
        **answer.envelope,
        "status": "incomplete",
        "incomplete_details": {"reason": reason},
        "usage": answer.cost.as_json(),
    }
    return event("response.incomplete", sequence_number, response=response)
