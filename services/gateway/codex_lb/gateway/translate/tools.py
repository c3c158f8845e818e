"""Tools and tool choices of chat requests, as the Responses API writes them: one level flatter. Pure."""

from __future__ import annotations

import msgspec

from codex_lb.gateway.errors import InvalidRequestError
from codex_lb.gateway.translate.members import FALSE, Members, given, is_given, read, word, written

# Tools that upstream would run itself and answer with items that have no place in a chat answer.
UNSUPPORTED = frozenset({
    "code_interpreter", "computer_use", "computer_use_preview", "file_search", "image_generation",
})  # fmt: skip
RENAMED = {"web_search_preview": "web_search"}
NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')


def tools_of(raw: msgspec.Raw) -> list[Members]:
    """The tools in upstream's shape; what is unknown keeps its bytes. Raises InvalidRequestError."""
    return [_tool(tool, f"tools[{n}]") for n, tool in enumerate(read(raw, list[Members], "tools"))]


def tool_choice_of(raw: msgspec.Raw) -> msgspec.Raw:
    """`auto` and its like as they are, a named tool without its inner object."""
    if bytes(raw).startswith(b'"'):
        return raw
    choice = read(raw, Members, "tool_choice")
    kind = word(choice.get("type"))
    if kind == "allowed_tools" and is_given(choice.get("allowed_tools")):
        inner = read(choice["allowed_tools"], Members, "tool_choice.allowed_tools")
        named = read(inner.get("tools", msgspec.Raw(b"[]")), list[Members], "tool_choice.allowed_tools.tools")
        return written({"type": kind, **inner, "tools": [_flat(tool, "tool_choice.allowed_tools") for tool in named]})
    return written(_flat(choice, "tool_choice"))


def _tool(tool: Members, where: str) -> Members:
    kind = word(tool.get("type"))
    if kind in UNSUPPORTED:
        raise InvalidRequestError(f"Unsupported tool type: {kind}", param=f"{where}.type")
    flat = _flat(tool, where)
    if kind == "function":
        if not word(flat.get("name")):
            raise InvalidRequestError("A function needs a name", param=f"{where}.function.name")
        # What a chat request leaves out means: no parameters, not strict. Upstream would take it as strict.
        stated = given(flat)
        return {**stated, "parameters": stated.get("parameters", NO_PARAMETERS), "strict": stated.get("strict", FALSE)}
    if kind == "custom" and is_given(flat.get("format")):
        return {**flat, "format": written(_grammar(read(flat["format"], Members, f"{where}.custom.format")))}
    return flat


def _flat(tool: Members, where: str) -> Members:
    """`{"type": "function", "function": {"name": …}}` as `{"type": "function", "name": …}`."""
    kind = word(tool.get("type"))
    if kind in RENAMED:
        return {**tool, "type": written(RENAMED[kind])}
    if not is_given(tool.get(kind)):
        return tool
    inner = read(tool[kind], Members, f"{where}.{kind}")
    return {"type": tool["type"], **inner, **{name: raw for name, raw in tool.items() if name not in (kind, "type")}}


def _grammar(form: Members) -> Members:
    """The format of a custom tool; a grammar's members stand one level deeper in a chat request."""
    if not is_given(form.get("grammar")):
        return form
    return {"type": form["type"], **read(form["grammar"], Members, "grammar")}
