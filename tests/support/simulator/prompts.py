"""What the prompt asks the simulator to do. Pure: a request body in, a Wish out.

Markers stand in the newest user message and survive any proxy: ``<<say:TEXT>>``, ``<<long:WORDS>>``,
``<<tool:NAME:{json}>>``, ``<<custom:NAME:input>>``, ``<<tokens:N>>``, ``<<do:STEP>>``. Several tools are called one
after another, each after the output of the one before; then comes the text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

JsonObject = dict[str, object]

_MARKER: Final = re.compile(r"<<(say|long|tool|custom|tokens|do):(.*?)>>", re.DOTALL)
_QUOTED_PROMPT_CHARS: Final = 60  # enough to recognise a prompt in the answer to it


@dataclass(frozen=True, slots=True)
class Say:
    """A message."""

    text: str


@dataclass(frozen=True, slots=True)
class CallTool:
    """A function call."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class CallCustomTool:
    """A call of a tool with free-form input."""

    name: str
    input: str


@dataclass(frozen=True, slots=True)
class Compact:
    """The conversation so far as one opaque item."""


@dataclass(frozen=True, slots=True)
class Draw:
    """An image, shown this often before it is done."""

    tool: JsonObject
    partial_images: int = 0


Wish = Say | CallTool | CallCustomTool | Compact | Draw


@dataclass(frozen=True, slots=True)
class Prompt:
    """What one request asks for."""

    wish: Wish
    do: str | None = None
    input_tokens: int | None = None


def read(body: JsonObject) -> Prompt:
    """The wish of the newest user message, or of the tool output that followed it."""
    items = input_items(body)
    if items and items[-1].get("type") == "compaction_trigger":
        return Prompt(Compact())
    said, after = _newest_user_text(items)
    markers: dict[str, str] = {}
    calls: list[Wish] = []
    for name, value in _MARKER.findall(said):
        if name == "tool":
            calls.append(_tool(value))
        elif name == "custom":
            calls.append(CallCustomTool(*_named(value)))
        else:
            markers[name] = value
    tool = _drawing_tool(body)
    if tool is not None and "say" not in markers:
        partial_images = tool.get("partial_images")
        wish: Wish = Draw(tool, partial_images if isinstance(partial_images, int) else 0)
        return Prompt(wish, do=markers.get("do"))
    outputs = [item for item in after if str(item.get("type", "")).endswith("_call_output")]
    wish = calls[len(outputs)] if len(outputs) < len(calls) else Say(_text(body, said, markers, outputs))
    tokens = markers.get("tokens")
    return Prompt(wish, do=markers.get("do"), input_tokens=int(tokens) if tokens else None)


def _drawing_tool(body: JsonObject) -> JsonObject | None:
    """The image tool, if the request insists on it."""
    if body.get("tool_choice") != {"type": "image_generation"}:
        return None
    tools = body.get("tools")
    given = tools if isinstance(tools, list) else []
    return next((t for t in given if isinstance(t, dict) and t.get("type") == "image_generation"), None)


def input_items(body: JsonObject) -> list[JsonObject]:
    """The input's items; whatever is no object is left out."""
    given = body.get("input")
    return [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []


def text_of(content: object) -> str:
    """The text of an item's content, in its short or its long form."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(text for text in parts if isinstance(text, str))


def _newest_user_text(items: Sequence[JsonObject]) -> tuple[str, Sequence[JsonObject]]:
    """The last run of user messages as one text, and the items behind it."""
    last = next((n for n in range(len(items) - 1, -1, -1) if items[n].get("role") == "user"), None)
    if last is None:
        return "", items
    first = last
    while first > 0 and items[first - 1].get("role") == "user":
        first -= 1
    return "\n".join(text_of(item.get("content")) for item in items[first : last + 1]), items[last + 1 :]


def _text(body: JsonObject, said: str, markers: dict[str, str], outputs: Sequence[JsonObject]) -> str:
    say = markers.get("say")
    if outputs:
        output = outputs[-1].get("output")
        return say or f"the tool said: {output if isinstance(output, str) else text_of(output)}"
    wanted = _wanted_format(body)
    if wanted is not None:
        return msgspec.json.encode(_example(wanted, say or "simulated", wanted)).decode()
    if "long" in markers:
        return " ".join(f"w{n}" for n in range(int(markers["long"]))) + (f" {say}" if say else "")
    return say or f"simulated answer to: {said.strip()[-_QUOTED_PROMPT_CHARS:]}"


def _named(value: str) -> tuple[str, str]:
    name, _, rest = value.partition(":")
    return name, rest


def _tool(value: str) -> CallTool:
    """Some clients quote the whole prompt as JSON; their arguments come with escaped quotes."""
    name, arguments = _named(value)
    try:
        msgspec.json.decode(arguments or "{}")
    except msgspec.DecodeError:
        arguments = arguments.replace('\\"', '"')
    return CallTool(name, arguments or "{}")


def _wanted_format(body: JsonObject) -> JsonObject | None:
    text = body.get("text")
    form = text.get("format") if isinstance(text, dict) else None
    if not isinstance(form, dict):
        return None
    if form.get("type") == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}}
    schema = form.get("schema")
    return schema if form.get("type") == "json_schema" and isinstance(schema, dict) else None


def _example(schema: JsonObject, text: str, root: JsonObject) -> object:
    """Something that satisfies the schema, as far as tests need it."""
    match schema:
        case {"$ref": str(path)}:
            return _example(_follow(path, root), text, root)
        case {"enum": [first, *_]} | {"const": first}:
            return first
        case {"anyOf": [dict(first), *_]} | {"oneOf": [dict(first), *_]}:
            return _example(first, text, root)
        case {"properties": dict(properties)}:
            return {name: _example(of, text, root) for name, of in properties.items() if isinstance(of, dict)}
        case {"items": dict(items)}:
            return [_example(items, text, root)]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    simple: dict[object, object] = {
        "integer": 7,
        "number": 7.5,
        "boolean": True,
        "null": None,
        "object": {},
        "array": [],
    }
    return simple.get(kind, text)


def _follow(path: str, root: JsonObject) -> JsonObject:
    node: object = root
    for part in path.removeprefix("#").strip("/").split("/"):
        if part:
            node = node.get(part) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else {}
