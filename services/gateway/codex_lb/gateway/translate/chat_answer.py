"""What chat answers say, streamed or whole: usage, finish reasons, reasoning, and the one object of a whole answer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from codex_lb.gateway.errors import UNREADABLE
from codex_lb.gateway.translate.chat_messages import REASONING_FORMAT, Thought

PARAGRAPH: Final = "\n\n"  # between two messages, or two parts of a summary: upstream sends them without a space
CUT_SHORT: Final = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}
CALLS: Final = ("function_call", "custom_tool_call")


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """What every chunk of an answer repeats."""

    answer_id: str
    created: int  # Unix seconds
    model: str  # as asked


class Part(msgspec.Struct):
    """A part of a message's content or of a summary."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None


class Item(msgspec.Struct):
    """What is read of an output item."""

    type: str = ""
    id: str | None = None
    content: list[Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None  # of a function
    input: str | None = None  # of a custom tool
    summary: list[Part] | None = None
    encrypted_content: str | None = None

    @property
    def text(self) -> str:
        """What a message says."""
        return "".join(part.text or "" for part in self.content or () if part.type == "output_text")

    @property
    def refusal(self) -> str:
        """What a message declines."""
        return "".join(part.refusal or "" for part in self.content or () if part.type == "refusal")

    @property
    def thought(self) -> str:
        """What reasoning says about itself: its summary, else its text."""
        parts = self.summary or self.content or ()
        return PARAGRAPH.join(part.text for part in parts if part.text)


class TokenDetails(msgspec.Struct):
    """Parts of a token count."""

    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class TokenUsage(msgspec.Struct):
    """Tokens as upstream counts them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: TokenDetails | None = None
    output_tokens_details: TokenDetails | None = None


class IncompleteDetails(msgspec.Struct):
    """Why an answer was cut short."""

    reason: str | None = None


class Response(msgspec.Struct):
    """What is read of a finished response."""

    output: list[msgspec.Raw] | None = None
    usage: TokenUsage | None = None
    incomplete_details: IncompleteDetails | None = None
    service_tier: str | None = None


@dataclass(slots=True)
class _Message:
    """A message as its items add up to it."""

    texts: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    calls: list[dict[str, object]] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    details: list[dict[str, object]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer, and what of it is worth remembering."""

    body: bytes
    call_ids: list[str]
    sealed: list[Thought]


def completion(response: bytes, head: AnswerHead) -> Completion:
    """The chat completion that says what a response says. Raises one of UNREADABLE."""
    finished = msgspec.json.decode(response, type=Response)
    items = items_in(finished.output or ())
    message = _message(items)
    choice = {
        "index": 0,
        "message": _as_json(message),
        "logprobs": None,
        "finish_reason": finish_reason(finished, has_calls=bool(message.calls)),
    }
    answer: dict[str, object] = {
        "id": head.answer_id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [choice],
        "usage": usage_of(finished.usage),
    }
    if finished.service_tier:
        answer["service_tier"] = finished.service_tier
    call_ids = [item.call_id for item in items if item.type in CALLS and item.call_id]
    sealed = [thought for item in items if (thought := sealed_in(item))]
    return Completion(msgspec.json.encode(answer), call_ids, sealed)


def items_in(output: Iterable[msgspec.Raw]) -> list[Item]:
    """The items that can be read."""
    items: list[Item] = []
    for raw in output:
        try:
            items.append(msgspec.json.decode(raw, type=Item))
        except UNREADABLE:
            continue
    return items


def finish_reason(response: Response, *, has_calls: bool) -> str:
    """Why the answer ends. One that was cut short says so first: its last call may lack half of its arguments."""
    details = response.incomplete_details
    cut_short = CUT_SHORT.get(details.reason or "") if details else None
    return cut_short or ("tool_calls" if has_calls else "stop")


def usage_of(usage: TokenUsage | None) -> dict[str, object] | None:
    """Tokens under the names of chat completions; None when upstream did not say."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    cached = usage.input_tokens_details.cached_tokens if usage.input_tokens_details else None
    reasoning = usage.output_tokens_details.reasoning_tokens if usage.output_tokens_details else None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens or usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": cached or 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning or 0},
    }


def summary_detail(summary: str, item_id: str | None, index: int) -> dict[str, object]:
    """What reasoning says about itself, as OpenRouter shapes it."""
    return {
        "type": "reasoning.summary",
        "summary": summary,
        "id": item_id,
        "format": REASONING_FORMAT,
        "index": index,
    }


def encrypted_detail(data: str, item_id: str | None, index: int) -> dict[str, object]:
    """The reasoning itself, which only upstream can read; a client brings it back with its next request."""
    return {"type": "reasoning.encrypted", "data": data, "id": item_id, "format": REASONING_FORMAT, "index": index}


def sealed_in(item: Item) -> Thought | None:
    """The reasoning item as upstream takes it back."""
    if item.type != "reasoning" or not item.encrypted_content:
        return None
    summary = [{"type": "summary_text", "text": part.text} for part in item.summary or () if part.text]
    return Thought(id=item.id or msgspec.UNSET, summary=summary, encrypted_content=item.encrypted_content)


def _message(items: Sequence[Item]) -> _Message:
    message = _Message()
    thoughts = 0
    for item in items:
        if item.type == "message":
            message.texts.append(item.text)
            message.refusals.append(item.refusal)
        elif item.type in CALLS:
            message.calls.append(_call(item))
        elif item.type == "reasoning":
            if item.thought:
                message.thoughts.append(item.thought)
                message.details.append(summary_detail(item.thought, item.id, thoughts))
            if item.encrypted_content:
                message.details.append(encrypted_detail(item.encrypted_content, item.id, thoughts))
            thoughts += 1
    return message


def _as_json(message: _Message) -> dict[str, object]:
    text = PARAGRAPH.join(filter(None, message.texts))
    refusal = "".join(message.refusals)
    said: dict[str, object] = {
        "role": "assistant",
        "content": text or (None if message.calls or refusal else ""),
        "refusal": refusal or None,
    }
    if message.thoughts:
        said["reasoning_content"] = PARAGRAPH.join(message.thoughts)
    if message.details:
        said["reasoning_details"] = message.details
    if message.calls:
        said["tool_calls"] = message.calls
    return said


def _call(item: Item) -> dict[str, object]:
    call_id, name = item.call_id or item.id, item.name or ""
    if item.type == "custom_tool_call":
        return {"id": call_id, "type": "custom", "custom": {"name": name, "input": item.input or ""}}
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": item.arguments or ""}}
