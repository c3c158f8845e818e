"""What upstream demands of JSON schemas when `strict` is set, told at once and in upstream's words. Pure.

Only what certainly fails is refused here: objects that are not closed, or that do not require all they have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from codex_lb.gateway.errors import UNREADABLE, InvalidRequestError

NAME_CHARS_MAX = 64
Path = tuple["Path", str] | None  # the way to the parent, and the last step; whole paths would cost depth times width
IN_MAPS: Final = ("properties", "$defs", "definitions")  # schemas by name
IN_LISTS: Final = ("anyOf", "allOf", "oneOf", "prefixItems")


class Format(msgspec.Struct):
    """What is read of `text.format`."""

    type: object = None
    name: object = None
    strict: object = None
    schema: object = None


class Text(msgspec.Struct):
    """What is read of `text`."""

    format: Format | None = None


class Tool(msgspec.Struct):
    """What is read of a tool."""

    type: object = None
    name: object = None
    strict: object = None
    parameters: object = None


def check_text(raw: msgspec.Raw) -> None:
    """Raises InvalidRequestError when the format of the answer is a strict schema that upstream refuses."""
    try:
        form = msgspec.json.decode(raw, type=Text).format
    except UNREADABLE:
        return
    if form is not None and form.type == "json_schema" and form.strict is True and (flaw := flaw_of(form.schema)):
        message = f"Invalid schema for response_format '{_shown(form.name)}': {flaw}"
        raise InvalidRequestError(message, param="text.format.schema", code="invalid_json_schema")


def check_tools(raw: msgspec.Raw) -> None:
    """Raises InvalidRequestError when a strict function has parameters that upstream refuses."""
    if b'"strict"' not in bytes(raw):
        return
    for n, tool in _functions(raw):
        if tool.strict is True and tool.parameters is not None and (flaw := flaw_of(tool.parameters)):
            message = f"Invalid schema for function '{_shown(tool.name)}': {flaw}"
            raise InvalidRequestError(message, param=f"tools[{n}].parameters", code="invalid_function_parameters")


def flaw_of(schema: object) -> str | None:
    """The first thing in a schema that strictness does not allow."""
    if not isinstance(schema, dict) or "anyOf" in schema or schema.get("type") != "object":
        return "schema must be a JSON Schema of 'type: \"object\"'."
    return next((flaw for path, node in _nodes(schema) if (flaw := _flaw_of_object(path, node))), None)


def _functions(raw: msgspec.Raw) -> Iterator[tuple[int, Tool]]:
    try:
        tools = msgspec.json.decode(raw, type=list[msgspec.Raw])
    except UNREADABLE:
        return
    for n, one in enumerate(tools):
        try:
            tool = msgspec.json.decode(one, type=Tool)
        except UNREADABLE:
            continue
        if tool.type == "function":
            yield n, tool


def _nodes(schema: dict[str, object]) -> Iterator[tuple[Path, dict[str, object]]]:
    """Every schema in a schema, with where it is."""
    left: list[tuple[Path, object]] = [(None, schema)]
    while left:
        path, node = left.pop()
        if not isinstance(node, dict):
            continue
        yield path, node
        inner: list[tuple[Path, object]] = [((path, "items"), node.get("items"))]
        for name in IN_MAPS:
            if isinstance(schemas := node.get(name), dict):
                inner += [(((path, name), key), value) for key, value in schemas.items()]
        for name in IN_LISTS:
            if isinstance(variants := node.get(name), list):
                inner += [(((path, name), str(n)), value) for n, value in enumerate(variants)]
        left += reversed(inner)


def _flaw_of_object(path: Path, node: dict[str, object]) -> str | None:
    kind, properties, required = node.get("type"), node.get("properties"), node.get("required")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        return None
    if node.get("additionalProperties") is not False:
        return f"In context={_steps(path)!r}, 'additionalProperties' is required to be supplied and to be false."
    names = list(properties) if isinstance(properties, dict) else []
    stated = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
    missing = next((name for name in names if name not in stated), None)
    if missing is None:
        return None
    return (
        f"In context={_steps(path)!r}, 'required' is required to be supplied and to be an array including every key in "
        f"properties. Missing '{missing}'."
    )


def _steps(path: Path) -> tuple[str, ...]:
    steps: list[str] = []
    while path is not None:
        path, step = path
        steps.append(step)
    return tuple(reversed(steps))


def _shown(name: object) -> str:
    return name[:NAME_CHARS_MAX] if isinstance(name, str) else ""
