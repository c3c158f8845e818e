"""What a scripted account does with one request. Pure: text in, a Step out.

A step is a pace (when and how bytes leave) and an end (what they add up to). Several parts join with ``+``:
``late:2+hold+eof`` waits two seconds, streams the first delta, waits for a release, then ends without a terminal event.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

LIMIT_RESETS_IN_S: Final = 3600
RATE_LIMITED_RETRY_AFTER_S: Final = 2


class UnreadableStepError(ValueError):
    """A step that nobody knows how to play."""


@dataclass(frozen=True, slots=True)
class Complete:
    """A whole, good answer."""


@dataclass(frozen=True, slots=True)
class Limit:
    """429 usage_limit_reached: the account's window is spent."""

    resets_in_s: int = LIMIT_RESETS_IN_S


@dataclass(frozen=True, slots=True)
class RateLimited:
    """429 rate_limit_exceeded: too fast, with a retry-after."""

    retry_after_s: int = RATE_LIMITED_RETRY_AFTER_S


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """401 token_expired."""


@dataclass(frozen=True, slots=True)
class Deactivated:
    """401 account_deactivated."""


@dataclass(frozen=True, slots=True)
class Overloaded:
    """503 server_is_overloaded."""


@dataclass(frozen=True, slots=True)
class Http:
    """Any status, with an error in JSON; the code may be named."""

    status: int
    code: str = "simulated_error"


@dataclass(frozen=True, slots=True)
class Html:
    """Any status, with a page as the CDN sends it."""

    status: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """The connection closes before any header."""


@dataclass(frozen=True, slots=True)
class HangHeaders:
    """Nothing at all."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Headers, then silence."""


@dataclass(frozen=True, slots=True)
class Failed:
    """response.failed, after created and in_progress, or as the very first event."""

    code: str
    is_first: bool = False


@dataclass(frozen=True, slots=True)
class Error:
    """A top-level error event, after created and in_progress, or as the very first event."""

    code: str
    is_first: bool = False


@dataclass(frozen=True, slots=True)
class Incomplete:
    """response.incomplete instead of completed."""

    reason: str = "max_output_tokens"


@dataclass(frozen=True, slots=True)
class CutAfter:
    """The connection closes after so many bytes of the body."""

    body_bytes: int


@dataclass(frozen=True, slots=True)
class CutBeforeOutput:
    """The connection closes after created and in_progress."""


@dataclass(frozen=True, slots=True)
class Eof:
    """A clean end without a terminal event."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """An event that is no JSON, in the middle of a good answer."""


@dataclass(frozen=True, slots=True)
class Strange:
    """A comment, an unknown event and unknown fields, in the middle of a good answer."""


@dataclass(frozen=True, slots=True)
class Close:
    """WebSocket only: a close frame with this code after the first delta."""

    code: int


Refusal = Limit | RateLimited | Unauthorized | Deactivated | Overloaded | Http | Html
Silence = Refuse | HangHeaders
Stream = (
    Complete | Hang | Failed | Error | Incomplete | CutAfter | CutBeforeOutput | Eof | Garbage | Strange | Close
)  # fmt: skip
End = Refusal | Silence | Stream


@dataclass(frozen=True, slots=True)
class Step:
    """How one request is answered."""

    end: End = Complete()
    late_s: float = 0.0
    between_s: float = 0.0
    is_held: bool = False
    is_held_before_headers: bool = False
    shred_bytes: int | None = None


OK: Final = Step()


def parse(text: str) -> Step:
    """Raises UnreadableStepError, naming the part that nobody knows."""
    step = OK
    for part in text.split("+"):
        name, _, argument = part.strip().partition(":")
        apply = _PARTS.get(name)
        if apply is None:
            raise UnreadableStepError(f"unknown step {part!r}; known: {', '.join(sorted(_PARTS))}")
        try:
            step = apply(step, argument)
        except ValueError as error:
            raise UnreadableStepError(f"step {part!r}: {error}") from error
    return step


def _http(step: Step, argument: str) -> Step:
    status, _, code = argument.partition(":")
    return replace(step, end=Http(int(status), code) if code else Http(int(status)))


def _named(argument: str) -> str:
    if not argument:
        raise ValueError("needs a code")
    return argument


_PARTS: Final[dict[str, Callable[[Step, str], Step]]] = {
    "ok": lambda step, _: step,
    "late": lambda step, argument: replace(step, late_s=float(argument)),
    "slow": lambda step, argument: replace(step, between_s=float(argument)),
    "hold": lambda step, _: replace(step, is_held=True),
    "hold_headers": lambda step, _: replace(step, is_held_before_headers=True),
    "shred": lambda step, argument: replace(step, shred_bytes=int(argument)),
    "limit": lambda step, argument: replace(step, end=Limit(int(argument or LIMIT_RESETS_IN_S))),
    "rate_limited": lambda step, argument: replace(step, end=RateLimited(int(argument or RATE_LIMITED_RETRY_AFTER_S))),
    "unauthorized": lambda step, _: replace(step, end=Unauthorized()),
    "deactivated": lambda step, _: replace(step, end=Deactivated()),
    "overloaded": lambda step, _: replace(step, end=Overloaded()),
    "http": _http,
    "html": lambda step, argument: replace(step, end=Html(int(argument))),
    "refuse": lambda step, _: replace(step, end=Refuse()),
    "hang_headers": lambda step, _: replace(step, end=HangHeaders()),
    "hang": lambda step, _: replace(step, end=Hang()),
    "failed": lambda step, argument: replace(step, end=Failed(_named(argument))),
    "failed_first": lambda step, argument: replace(step, end=Failed(_named(argument), is_first=True)),
    "error": lambda step, argument: replace(step, end=Error(_named(argument))),
    "error_first": lambda step, argument: replace(step, end=Error(_named(argument), is_first=True)),
    "incomplete": lambda step, argument: replace(step, end=Incomplete(argument or "max_output_tokens")),
    "cut_after": lambda step, argument: replace(step, end=CutAfter(int(argument))),
    "cut_before_output": lambda step, _: replace(step, end=CutBeforeOutput()),
    "eof": lambda step, _: replace(step, end=Eof()),
    "garbage": lambda step, _: replace(step, end=Garbage()),
    "strange": lambda step, _: replace(step, end=Strange()),
    "close": lambda step, argument: replace(step, end=Close(int(argument))),
}
