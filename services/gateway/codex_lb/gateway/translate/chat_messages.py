"""The messages of a chat request as input items of a Responses request, in the order they came. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from codex_lb.gateway.errors import UNREADABLE, InvalidRequestError
from codex_lb.gateway.translate.members import Members, is_given, is_list, is_text, read, word, written

REASONING_FORMAT = "openai-responses-v1"  # OpenRouter's name for reasoning that only OpenAI's models can read
PARTS_OF_THOUGHT = ("reasoning", "thinking", "redacted_thinking")  # other vendors' reasoning: nobody here can read it
NOT_FOR_PARTS = ("cache_control", "prompt_cache_breakpoint")  # upstream caches by itself and refuses these
NULL = msgspec.Raw(b"null")


class Function(msgspec.Struct):
    """The function of a call."""

    name: str
    arguments: str


class Custom(msgspec.Struct):
    """The custom tool of a call."""

    name: str
    input: str


class ToolCall(msgspec.Struct):
    """A call that the assistant made."""

    id: str
    function: Function | None = None
    custom: Custom | None = None


class Message(msgspec.Struct):
    """What is read of a message; its other members, such as `name`, have no place upstream."""

    role: str
    content: msgspec.Raw = NULL
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    toolCallId: str | None = None  # noqa: N815 - as some clients write it
    call_id: str | None = None
    reasoning_details: msgspec.Raw = NULL


class Detail(msgspec.Struct):
    """A piece of reasoning that an earlier answer carried."""

    type: str = ""
    id: str | None = None
    format: str | None = None
    index: int | None = None
    summary: str | None = None
    data: str | None = None


class Thought(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="reasoning"):
    """A reasoning item."""

    id: str | msgspec.UnsetType = msgspec.UNSET
    summary: list[dict[str, str]]
    encrypted_content: str


Recall = Callable[[Sequence[str]], Sequence[Thought]]  # the reasoning before these calls, if it is remembered


def nothing_recalled(_call_ids: Sequence[str]) -> Sequence[Thought]:
    """Remembers nothing."""
    return ()


class Conversation:
    """Turns messages into items, one after another."""

    def __init__(self, recall: Recall = nothing_recalled) -> None:
        self._recall = recall
        self._custom_calls: set[str] = set()
        self._thoughts: set[str] = set()

    def items_of(self, raw: msgspec.Raw, where: str) -> Iterator[object]:
        """The items that one message becomes. Raises InvalidRequestError naming the place."""
        message = read(raw, Message, where)
        match message.role:
            case "system" | "developer":  # upstream refuses the role `system`
                yield said("developer", input_parts(message.content, f"{where}.content"))
            case "user":
                yield said("user", input_parts(message.content, f"{where}.content"))
            case "assistant":
                yield from self._answered(message, where)
            case "tool":
                yield self._returned(message, where)
            case role:
                raise InvalidRequestError(f"Unsupported role: {role[:40]}", param=f"{where}.role")

    def _answered(self, message: Message, where: str) -> Iterator[object]:
        """Upstream wrote its reasoning first, then its text, then its calls."""
        calls = message.tool_calls or ()
        for thought in thoughts_of(message.reasoning_details) or self._recall([call.id for call in calls]):
            if thought.encrypted_content not in self._thoughts:
                self._thoughts.add(thought.encrypted_content)
                yield thought
        parts = output_parts(message.content, f"{where}.content")
        if message.refusal:
            parts.append({"type": "refusal", "refusal": message.refusal})
        if parts:
            yield said("assistant", parts)
        for n, call in enumerate(calls):
            yield self._called(call, f"{where}.tool_calls[{n}]")

    def _called(self, call: ToolCall, where: str) -> object:
        match call:
            case ToolCall(function=Function(name=name, arguments=arguments)):
                return {"type": "function_call", "call_id": call.id, "name": name, "arguments": arguments}
            case ToolCall(custom=Custom(name=name, input=given)):
                self._custom_calls.add(call.id)
                return {"type": "custom_tool_call", "call_id": call.id, "name": name, "input": given}
            case _:
                raise InvalidRequestError("A tool call needs a function", param=f"{where}.function")

    def _returned(self, message: Message, where: str) -> object:
        call_id = message.tool_call_id or message.toolCallId or message.call_id
        if not call_id:
            raise InvalidRequestError("A tool message needs a tool_call_id", param=f"{where}.tool_call_id")
        kind = "custom_tool_call_output" if call_id in self._custom_calls else "function_call_output"
        return {"type": kind, "call_id": call_id, "output": tool_output(message.content, f"{where}.content")}


def said(role: str, parts: list[object]) -> object:
    """A message item."""
    return {"type": "message", "role": role, "content": parts}


def input_parts(content: msgspec.Raw, where: str) -> list[object]:
    """What was said to the model: text, images, files; a part of an unknown type is left to upstream."""
    if is_text(content):
        return [{"type": "input_text", "text": content}]
    if not is_given(content):
        raise InvalidRequestError("Invalid request payload", param=where)
    parts = read(content, list[Members], where)
    return [_input_part(part, f"{where}[{n}]") for n, part in enumerate(parts)]


def output_parts(content: msgspec.Raw, where: str) -> list[object]:
    """What the model said: text and refusals; nothing when it only called tools."""
    if not is_given(content) or bytes(content) == b'""':
        return []
    if is_text(content):
        return [{"type": "output_text", "text": content}]
    parts: list[object] = []
    for n, part in enumerate(read(content, list[Members], where)):
        match word(part.get("type")):
            case "text":
                parts.append(_renamed(part, "output_text", "text", f"{where}[{n}]"))
            case "refusal":
                parts.append(_renamed(part, "refusal", "refusal", f"{where}[{n}]"))
            case kind if not kind.startswith(PARTS_OF_THOUGHT):
                parts.append(_kept(part))
    return parts


def tool_output(content: msgspec.Raw, where: str) -> object:
    """What a tool returned: one text where that says it all, else parts (images, files)."""
    if not is_given(content):
        return ""
    if is_text(content):
        return content
    parts = read(content, list[Members], where)
    if all(word(part.get("type")) in ("text", "input_text") for part in parts):
        texts = [read(part.get("text", NULL), str, f"{where}[{n}].text") for n, part in enumerate(parts)]
        return "".join(texts)
    return [_input_part(part, f"{where}[{n}]") for n, part in enumerate(parts)]


def thoughts_of(details: msgspec.Raw) -> list[Thought]:
    """The reasoning items that an assistant message brings back; what is not encrypted is no use to upstream.

    Lenient, because clients write all sorts of things here: OpenCode the bare text, others their own vendor's details.
    """
    if not is_list(details):
        return []
    try:
        pieces = [_detail(raw) for raw in msgspec.json.decode(details, type=list[msgspec.Raw])]
    except UNREADABLE:
        return []
    ours = [piece for piece in pieces if piece.format in (None, REASONING_FORMAT)]
    return [_thought(piece.data, piece, ours) for piece in ours if piece.type == "reasoning.encrypted" and piece.data]


def _detail(raw: msgspec.Raw) -> Detail:
    try:
        return msgspec.json.decode(raw, type=Detail)
    except UNREADABLE:
        return Detail()


def _thought(data: str, encrypted: Detail, details: list[Detail]) -> Thought:
    """A reasoning item with its summary, whose pieces are known by the item's id, else by its index."""
    summary = "".join(
        detail.summary
        for detail in details
        if detail.type == "reasoning.summary"
        and detail.summary
        and (detail.id == encrypted.id if detail.id else detail.index == encrypted.index)
    )
    return Thought(
        id=encrypted.id or msgspec.UNSET,
        summary=[{"type": "summary_text", "text": summary}] if summary else [],
        encrypted_content=data,
    )


def _input_part(part: Members, where: str) -> Members:
    match word(part.get("type")):
        case "text":
            return _renamed(part, "input_text", "text", where)
        case "image_url":
            return _image(part, where)
        case "file":
            return _file(part, where)
        case "input_audio":
            raise InvalidRequestError("Audio input is not supported.", param=where)
        case _:
            return _kept(part)


def _renamed(part: Members, kind: str, member: str, where: str) -> Members:
    """A part whose one member must be text."""
    if not is_text(part.get(member)):
        raise InvalidRequestError("Invalid request payload", param=f"{where}.{member}")
    return {**_kept(part), "type": written(kind)}


def _image(part: Members, where: str) -> Members:
    """The address and the detail of an image stand side by side upstream."""
    inner = part.get("image_url", NULL)
    image = {"url": inner} if is_text(inner) else read(inner, Members, f"{where}.image_url")
    if not is_text(image.get("url")):
        raise InvalidRequestError("Invalid request payload", param=f"{where}.image_url.url")
    detail = {"detail": image["detail"]} if is_given(image.get("detail")) else {}
    return {**_kept(part), "type": written("input_image"), "image_url": image["url"], **detail}


def _file(part: Members, where: str) -> Members:
    """A file by its content, its address, or the id it was uploaded under."""
    file = read(part["file"], Members, f"{where}.file") if is_given(part.get("file")) else part
    data = file.get("file_data") or file.get("data")
    kept = {name: file[name] for name in ("file_id", "file_url", "filename") if is_given(file.get(name))}
    if data is not None and is_text(data):
        mime = word(file.get("mime_type")) or word(file.get("media_type"))
        kept["file_data"] = _data_url(mime, data) if mime else data
    if not kept.keys() - {"filename"}:
        raise InvalidRequestError("A file needs file_data, file_url or file_id", param=f"{where}.file")
    return {"type": written("input_file"), **kept}


def _data_url(mime: str, data: msgspec.Raw) -> msgspec.Raw:
    """Bare base64 as upstream takes it."""
    if bytes(memoryview(data)[:6]) == b'"data:':
        return data
    prefix = msgspec.json.encode(f"data:{mime};base64,")
    return msgspec.Raw(prefix[:-1] + bytes(data)[1:])


def _kept(part: Members) -> Members:
    return {name: raw for name, raw in part.items() if name not in NOT_FOR_PARTS}
