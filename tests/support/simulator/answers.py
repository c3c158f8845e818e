"""What the model answers: the list of events for a request. Pure.

As with the real backend, ``output`` is empty in the terminal event; the items came in ``response.output_item.done``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, assert_never

import msgspec

from tests.support.simulator.ciphertext import seal
from tests.support.simulator.prompts import CallCustomTool, CallTool, Compact, Draw, JsonObject, Say, Wish
from tests.support.simulator.tokens import REASONING_TOKENS, Cost, count

_ARGUMENTS_DELTA_CHARS: Final = 12
_SUMMARY: Final = "**Simulating thought**"
_PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
_IMAGE_USAGE: Final = {
    "image_gen": {
        "input_tokens": 11,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 11},
        "output_tokens": 272,
        "output_tokens_details": {"image_tokens": 272, "text_tokens": 0},
        "total_tokens": 283,
    }
}
_SUMMARY_PART: Final = {"type": "summary_text", "text": _SUMMARY}

_encoder: Final = msgspec.json.Encoder()

NewId = Callable[[str], str]  # a prefix such as "msg_" in, a fresh id out


@dataclass(frozen=True, slots=True)
class Event:
    """One event; the data is what an SSE data line or a text frame holds."""

    type: str
    data: bytes

    def sse(self) -> bytes:
        """As a block of an event stream."""
        return b"event: %b\ndata: %b\n\n" % (self.type.encode(), self.data)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole, good answer; the envelope is the response object without its end."""

    response_id: str
    events: list[Event]
    envelope: JsonObject
    cost: Cost
    items: list[JsonObject]


def build(
    body: JsonObject, wish: Wish, *, account_id: str, new_id: NewId, now: int, input_tokens: int, cached_tokens: int
) -> Answer:
    """The events of a good answer, from ``response.created`` to ``response.completed``."""
    envelope = _envelope(body, new_id("resp_"), now)
    output = _Output(account_id, new_id)
    output.add("response.created", response=envelope)
    output.add("response.in_progress", response=envelope)
    reasons = bool(body.get("reasoning")) and not isinstance(wish, Compact)
    if reasons:
        _reason(output, body)
    said = _answer(output, wish)
    cost = Cost(input_tokens, cached_tokens, count(said) + REASONING_TOKENS * reasons, REASONING_TOKENS * reasons)
    done = {**envelope, "status": "completed", "completed_at": now, "usage": cost.as_json()}
    if isinstance(wish, Draw):
        done["tool_usage"] = _IMAGE_USAGE
    output.add("response.completed", response=done)
    return Answer(str(envelope["id"]), output.events, envelope, cost, output.items)


def build_warm_up(body: JsonObject, *, new_id: NewId, now: int, input_tokens: int, cached_tokens: int) -> Answer:
    """The answer to ``generate: false``: an id to continue from, and no output."""
    envelope = _envelope(body, new_id("resp_"), now)
    cost = Cost(input_tokens, cached_tokens, 0, 0)
    done = {**envelope, "status": "completed", "completed_at": now, "usage": cost.as_json()}
    events = [
        event("response.created", 0, response=envelope),
        event("response.completed", 1, response=done),
    ]
    return Answer(str(envelope["id"]), events, envelope, cost, [])


def event(kind: str, sequence_number: int, **fields: object) -> Event:
    """One event with its fields, as upstream orders them."""
    return Event(kind, _encoder.encode({"type": kind, **fields, "sequence_number": sequence_number}))


class _Output:
    """The events so far, numbered, and the finished items."""

    def __init__(self, account_id: str, new_id: NewId) -> None:
        self.events: list[Event] = []
        self.items: list[JsonObject] = []
        self.new_id = new_id
        self._account_id = account_id

    def add(self, kind: str, **fields: object) -> None:
        self.events.append(event(kind, len(self.events), **fields))

    def begin(self, item: JsonObject) -> None:
        self.add("response.output_item.added", item=item, output_index=len(self.items))

    def finish(self, item: JsonObject) -> None:
        self.add("response.output_item.done", item=item, output_index=len(self.items))
        self.items.append(item)

    def deltas(self, kind: str, pieces: list[str], **fields: object) -> None:
        """Many events that differ only in their delta: encoded once, because long answers have thousands."""
        frame = {"type": kind, **fields, "output_index": len(self.items)}
        head = _encoder.encode(frame)[:-1] + b',"delta":'
        first = len(self.events)
        self.events += [
            Event(kind, b'%b%b,"sequence_number":%d}' % (head, _encoder.encode(piece), first + n))
            for n, piece in enumerate(pieces)
        ]

    def ciphertext(self) -> str:
        return seal(self._account_id, self.new_id(""))


def _envelope(body: JsonObject, response_id: str, now: int) -> JsonObject:
    return {
        "id": response_id,
        "object": "response",
        "created_at": now,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": None,
        "model": body.get("model"),
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": body.get("reasoning") or {"effort": None, "summary": None},
        "safety_identifier": "user-simulated",
        "service_tier": body.get("service_tier") or "default",
        "store": False,
        "temperature": 1.0,
        "text": body.get("text") or {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "metadata": {},
    }


def _reason(output: _Output, body: JsonObject) -> None:
    include = body.get("include")
    sealed = output.ciphertext() if isinstance(include, list) and "reasoning.encrypted_content" in include else None
    item: JsonObject = {"id": output.new_id("rs_"), "type": "reasoning", "encrypted_content": sealed, "summary": []}
    place = {"item_id": item["id"], "output_index": len(output.items), "summary_index": 0}
    output.begin(item)
    output.add("response.reasoning_summary_part.added", **place, part={"type": "summary_text", "text": ""})
    output.add("response.reasoning_summary_text.delta", **place, delta=_SUMMARY)
    output.add("response.reasoning_summary_text.done", **place, text=_SUMMARY)
    output.add("response.reasoning_summary_part.done", **place, part=_SUMMARY_PART)
    output.finish({**item, "summary": [_SUMMARY_PART]})


def _answer(output: _Output, wish: Wish) -> str:
    """Adds the item that the wish asks for; returns what counts as output tokens."""
    match wish:
        case Say(text=text):
            _say(output, text)
            return text
        case CallTool(name=name, arguments=arguments):
            _call(output, name, arguments)
            return name + arguments
        case CallCustomTool(name=name, input=given):
            _call_custom(output, name, given)
            return name + given
        case Compact():
            item: JsonObject = {
                "id": output.new_id("cmp_"),
                "type": "compaction",
                "encrypted_content": output.ciphertext(),
            }
            output.begin(item)
            output.finish(item)
            return str(item["encrypted_content"])
        case Draw(tool=tool, partial_images=partial_images):
            _draw(output, tool, partial_images)
            return ""
        case _:
            assert_never(wish)


def _say(output: _Output, text: str) -> None:
    item: JsonObject = {
        "id": output.new_id("msg_"), "type": "message", "status": "in_progress", "content": [], "role": "assistant",
    }  # fmt: skip
    place = {"item_id": item["id"], "output_index": len(output.items), "content_index": 0}
    part: JsonObject = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    output.begin(item)
    output.add("response.content_part.added", **place, part={**part, "text": ""})
    output.deltas("response.output_text.delta", _words(text), item_id=item["id"], content_index=0, logprobs=[])
    output.add("response.output_text.done", **place, text=text, logprobs=[])
    output.add("response.content_part.done", **place, part=part)
    output.finish({**item, "status": "completed", "content": [part]})


def _call(output: _Output, name: str, arguments: str) -> None:
    item: JsonObject = {
        "id": output.new_id("fc_"), "type": "function_call", "status": "in_progress", "arguments": "",
        "call_id": output.new_id("call_"), "name": name,
    }  # fmt: skip
    output.begin(item)
    size = _ARGUMENTS_DELTA_CHARS
    pieces = [arguments[n : n + size] for n in range(0, len(arguments), size)]
    output.deltas("response.function_call_arguments.delta", pieces, item_id=item["id"])
    place = {"item_id": item["id"], "output_index": len(output.items)}
    output.add("response.function_call_arguments.done", **place, arguments=arguments)
    output.finish({**item, "status": "completed", "arguments": arguments})


def _call_custom(output: _Output, name: str, given: str) -> None:
    item: JsonObject = {
        "id": output.new_id("ctc_"), "type": "custom_tool_call", "status": "in_progress",
        "call_id": output.new_id("call_"), "input": "", "name": name,
    }  # fmt: skip
    output.begin(item)
    output.deltas("response.custom_tool_call_input.delta", [given], item_id=item["id"])
    place = {"item_id": item["id"], "output_index": len(output.items)}
    output.add("response.custom_tool_call_input.done", **place, input=given)
    output.finish({**item, "status": "completed", "input": given})


def _draw(output: _Output, tool: JsonObject, partial_images: int) -> None:
    item: JsonObject = {"id": output.new_id("ig_"), "type": "image_generation_call", "status": "in_progress"}
    look = {
        "background": tool.get("background") or "opaque",
        "output_format": tool.get("output_format") or "png",
        "quality": tool.get("quality") or "high",
        "size": "1024x1024" if tool.get("size") in (None, "auto") else tool["size"],
    }
    place = {"item_id": item["id"], "output_index": len(output.items)}
    output.begin(item)
    output.add("response.image_generation_call.in_progress", **place)
    output.add("response.image_generation_call.generating", **place)
    for n in range(partial_images):
        kind = "response.image_generation_call.partial_image"
        output.add(kind, **place, partial_image_index=n, partial_image_b64=_PIXEL, **look)
    output.finish({**item, "status": "completed", "revised_prompt": "a revised prompt", "result": _PIXEL, **look})


def _words(text: str) -> list[str]:
    """Each word with the space before it, as tokens come."""
    head, *rest = text.split(" ")
    return [head, *(f" {word}" for word in rest)]
