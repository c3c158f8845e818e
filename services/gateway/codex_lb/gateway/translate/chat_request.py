"""Chat Completions requests to Responses requests that upstream accepts. Pure.

What a chat request calls otherwise is translated here; what has no counterpart upstream stands in `PARAMETERS`; any other
member, known or not, keeps its name and its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import msgspec

from codex_lb.gateway.errors import InvalidRequestError
from codex_lb.gateway.translate.chat_messages import Conversation, Recall, Thought, nothing_recalled
from codex_lb.gateway.translate.members import (
    FALSE,
    TRUE,
    Members,
    Word,
    given,
    is_given,
    read,
    word,
    written,
)
from codex_lb.gateway.translate.tools import tool_choice_of, tools_of

ENCRYPTED_REASONING = "reasoning.encrypted_content"  # so that the reasoning of this answer can be brought back
SCHEMA_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Dropped:
    """Upstream answers this parameter with an error, and its models do well without it."""

    because: str


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer without this parameter would not be what was asked for; values that ask for nothing are dropped."""

    because: str
    harmless: tuple[object, ...] = ()


_SAMPLING: Final = Dropped("reasoning models do not sample by request")
_BOUND: Final = Dropped("upstream takes no bound; a bound on tokens would cut reasoning off before any answer")
_BOOKKEEPING: Final = Dropped("for the platform's own records, of which a ChatGPT account has none")
_STATELESS: Final = Refused("This route keeps no conversations. Send all messages.")
_FUNCTIONS: Final = Refused("Send tools and tool_choice instead of functions.", harmless=([], "auto", "none"))

# Every parameter of chat requests that has no counterpart upstream, and what becomes of it. Null counts as absent.
PARAMETERS: Final[dict[str, Dropped | Refused]] = {
    "n": Refused("Only one choice per request is available.", harmless=(1,)),
    "audio": Refused("Audio output is not supported."),
    "modalities": Refused("Only text output is supported.", harmless=(["text"], [])),
    "functions": _FUNCTIONS,
    "function_call": _FUNCTIONS,
    "web_search_options": Refused('Send a tool {"type": "web_search"} instead of web_search_options.'),
    "input": Refused("Send messages here, or input to /v1/responses."),
    "previous_response_id": _STATELESS,
    "conversation": _STATELESS,
    "stop": Dropped("reasoning models take no stop sequences"),
    "logprobs": Dropped("upstream reports no probabilities"),
    "top_logprobs": Dropped("upstream reports no probabilities"),
    "temperature": _SAMPLING,
    "top_p": _SAMPLING,
    "top_k": _SAMPLING,
    "min_p": _SAMPLING,
    "top_a": _SAMPLING,
    "seed": _SAMPLING,
    "presence_penalty": _SAMPLING,
    "frequency_penalty": _SAMPLING,
    "repetition_penalty": _SAMPLING,
    "logit_bias": _SAMPLING,
    "max_tokens": _BOUND,
    "max_completion_tokens": _BOUND,
    "max_output_tokens": _BOUND,
    "truncation": Dropped("upstream truncates nothing; a full context is an error that clients know"),
    "background": Dropped("the answer comes in the same exchange"),
    "store": _BOOKKEEPING,
    "metadata": _BOOKKEEPING,
    "user": _BOOKKEEPING,
    "safety_identifier": _BOOKKEEPING,
    "prompt_cache_retention": Dropped("upstream decides"),
    "prompt_cache_options": Dropped("upstream decides"),
    "prediction": Dropped("a speed-up that upstream does not have"),
    "stream_options": Dropped("read here: include_usage"),
    "thinking": Dropped("another vendor's word; reasoning_effort is ours"),
    "enable_thinking": Dropped("another vendor's word; reasoning_effort is ours"),
    "include_reasoning": Dropped("reasoning is always delivered"),
}
TRANSLATED: Final = (
    "messages", "reasoning_effort", "reasoning_summary", "verbosity", "response_format",
)  # fmt: skip


class StreamOptions(msgspec.Struct):
    """What is read of `stream_options`."""

    include_usage: bool | None = None


class ChatRequest(msgspec.Struct):
    """What is read of a request; wrong types in these members are refused."""

    model: Word = ""
    messages: list[msgspec.Raw] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    reasoning_effort: Word | None = None
    reasoning_summary: Word | None = None
    reasoning: Members | None = None
    verbosity: Word | None = None
    service_tier: Word | None = None
    instructions: str | None = None
    response_format: Members | None = None
    text: Members | None = None
    include: list[str] | None = None


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """A translated request, and what the answer needs to know of it."""

    members: Members  # of the body for upstream, without its input
    items: list[object]  # of the input
    model: str
    is_streamed: bool
    includes_usage: bool  # only matters to a stream: a whole answer always has it
    reasoning_effort: str
    service_tier: str

    @property
    def thoughts(self) -> list[Thought]:
        """The reasoning that it brings back."""
        return [item for item in self.items if isinstance(item, Thought)]

    def body(self, *, without: Collection[Thought] = ()) -> bytes:
        """The body for upstream, but for thoughts that the account cannot read."""
        items = [item for item in self.items if item not in without] if without else self.items
        return msgspec.json.encode({**self.members, "input": items})


def chat_turn(body: bytes, *, refuses_summary: Collection[str] = (), recall: Recall = nothing_recalled) -> ChatTurn:
    """The request for upstream. Raises InvalidRequestError.

    Every model is asked for a summary of its reasoning, without which there is none to deliver, but for those named.
    `recall` gives the reasoning of messages that come without it.
    """
    asked = read(body, ChatRequest)
    if not asked.model.strip():
        raise InvalidRequestError("Invalid request payload", param="model")
    members = given(read(body, Members))
    for name in members.keys() & PARAMETERS.keys():
        _check(name, members.pop(name))
    for name in TRANSLATED:
        members.pop(name, None)
    reasoning = _reasoning(asked, summarizes=asked.model not in refuses_summary)
    tier = "priority" if asked.service_tier == "fast" else asked.service_tier or ""
    members |= {
        "instructions": written(asked.instructions or ""),
        "include": written(list(dict.fromkeys([*(asked.include or ()), ENCRYPTED_REASONING]))),
        "stream": TRUE,
        "store": FALSE,
    }
    members |= _shaped(members)
    if text := _text(asked):
        members["text"] = written(text)
    if reasoning:
        members["reasoning"] = written(reasoning)
    if tier:
        members["service_tier"] = written(tier)
    return ChatTurn(
        members=members,
        items=_input(asked.messages, recall),
        model=asked.model,
        is_streamed=asked.stream is True,
        includes_usage=asked.stream_options is not None and asked.stream_options.include_usage is True,
        reasoning_effort=word(reasoning.get("effort")),
        service_tier=tier,
    )


def _check(name: str, raw: msgspec.Raw) -> None:
    """Raises InvalidRequestError for a parameter that is refused, unless its value asks for nothing."""
    match PARAMETERS[name]:
        case Refused(because=because, harmless=harmless):
            if read(raw, object, name) not in harmless:
                raise InvalidRequestError(because, param=name)
        case Dropped():
            pass


def _input(messages: list[msgspec.Raw] | None, recall: Recall) -> list[object]:
    if not messages:
        raise InvalidRequestError("Invalid request payload", param="messages")
    conversation = Conversation(recall)
    return [item for n, raw in enumerate(messages) for item in conversation.items_of(raw, f"messages[{n}]")]


def _shaped(members: Members) -> Members:
    """The members that keep their names, but not their shapes."""
    shaped: Members = {}
    if "tools" in members:
        shaped["tools"] = written(tools_of(members["tools"]))
    if "tool_choice" in members:
        shaped["tool_choice"] = tool_choice_of(members["tool_choice"])
    return shaped


def _reasoning(asked: ChatRequest, *, summarizes: bool) -> Members:
    """How hard the model is to think, and that it is to say what it thought."""
    reasoning = given(asked.reasoning or {})
    for name in ("max_tokens", "exclude", "enabled"):  # OpenRouter's, with no counterpart
        reasoning.pop(name, None)
    if asked.reasoning_effort:
        reasoning["effort"] = written(asked.reasoning_effort)
    if asked.reasoning_summary:
        reasoning["summary"] = written(asked.reasoning_summary)
    if summarizes and word(reasoning.get("effort")) != "none":
        reasoning.setdefault("summary", written("auto"))
    return reasoning


def _text(asked: ChatRequest) -> Members:
    """The shape of the answer's text."""
    text = given(asked.text or {})
    if asked.verbosity:
        text["verbosity"] = written(asked.verbosity)
    if asked.response_format is None:
        return text
    if "format" in text:
        raise InvalidRequestError("Send response_format or text.format, not both", param="response_format")
    return {**text, "format": written(_format(asked.response_format))}


def _format(wanted: Members) -> Members:
    """A JSON schema stands one level deeper in a chat request."""
    kind = word(wanted.get("type"))
    if kind in ("text", "json_object"):
        return {"type": wanted["type"]}
    if kind != "json_schema" or not is_given(wanted.get("json_schema")):
        raise InvalidRequestError("Invalid request payload", param="response_format")
    schema = given(read(wanted["json_schema"], Members, "response_format.json_schema"))
    if not SCHEMA_NAME.fullmatch(word(schema.get("name"))):
        raise InvalidRequestError(
            "A schema needs a name of letters, digits, _ and -", param="response_format.json_schema.name"
        )
    return {"type": wanted["type"], **schema}
