"""Input items of clients to items that upstream accepts. Pure.

Clients of other APIs send their messages here as they have them. What upstream knows keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from codex_lb.gateway.errors import InvalidRequestError
from codex_lb.gateway.translate.chat_messages import PARTS_OF_THOUGHT, Conversation
from codex_lb.gateway.translate.members import Members, is_given, is_list, is_text, read, word, written
from codex_lb.gateway.translate.rewriting import each, members_of, same, with_members, without_members
from codex_lb.kit.needle import Needle

REPLAYED_CALLS: Final = frozenset({"function_call", "custom_tool_call", "apply_patch_call"})
CHATS_OWN: Final = frozenset({"reasoning_content", "reasoning_details", "tool_calls", "function_call"})
BREAKPOINT: Final = "prompt_cache_breakpoint"
BREAKPOINT_NEEDLE: Final = Needle(BREAKPOINT.encode())
TEXT_PARTS: Final = ("text", "input_text")
NOT_STORED: Final = (
    "This upstream stores no items, so it cannot know the one that this item_reference names. Send the item itself "
    'instead: set "store": false and "include": ["reasoning.encrypted_content"], with which SDKs resend reasoning whole.'
)


def items_of_input(raw: msgspec.Raw | None) -> msgspec.Raw:
    """`input` as a list of items. Raises InvalidRequestError naming the place."""
    if raw is not None and is_text(raw):
        text = {"type": "input_text", "text": read(raw, str, "input")}
        return written([{"type": "message", "role": "user", "content": [text]}])
    if raw is None or not is_given(raw):
        raise InvalidRequestError("Invalid request payload", param="input")
    conversation = Conversation()
    items = read(raw, list[msgspec.Raw], "input")
    new = [one for n, item in enumerate(items) for one in _items(item, f"input[{n}]", conversation)]
    return raw if same(new, items) else written(new)


def items_of_messages(raw: msgspec.Raw) -> msgspec.Raw:
    """`messages` as they are in chat requests, as a list of items. Raises InvalidRequestError naming the place."""
    conversation = Conversation()
    messages = read(raw, list[msgspec.Raw], "messages")
    return written([
        item for n, message in enumerate(messages) for item in conversation.items_of(message, f"messages[{n}]")
    ])  # fmt: skip


def _items(raw: msgspec.Raw, where: str, conversation: Conversation) -> Iterator[object]:
    """What an item becomes: itself, if upstream accepts it."""
    item = read(raw, Members, where)
    kind, role = word(item.get("type")), word(item.get("role"))
    if kind == "item_reference" or item.keys() - CHATS_OWN == {"id"}:
        raise InvalidRequestError(NOT_STORED, param=where)
    if kind in REPLAYED_CALLS:
        yield without_members(raw, ("namespace",))
    elif kind not in ("", "message"):
        yield _without_breakpoints(raw)
    elif role == "tool" or is_given(item.get("tool_calls")) or is_given(item.get("reasoning_details")):
        yield from conversation.items_of(raw, where)
    else:
        yield _without_breakpoints(_message(raw, item, role))


def _message(raw: msgspec.Raw, item: Members, role: str) -> msgspec.Raw:
    """A message in upstream's words."""
    changed: Members = {}
    if role == "system":
        changed["role"] = written("developer")  # upstream refuses the one; the other is its own word for the same
    if role == "assistant" and "content" in item:
        content = _said(item["content"])
        if content is not item["content"]:
            changed["content"] = content
    if not changed and item.keys().isdisjoint(CHATS_OWN):
        return raw
    return written({name: member for name, member in {**item, **changed}.items() if name not in CHATS_OWN})


def _said(content: msgspec.Raw) -> msgspec.Raw:
    """What the model said, as parts of output; upstream takes no reasoning among them."""
    if is_text(content):
        return written([{"type": "output_text", "text": content}])
    if not is_list(content):
        return content
    parts = read(content, list[msgspec.Raw])
    kept = [_part_said(part) for part in parts if not _kind(part).startswith(PARTS_OF_THOUGHT)]
    return content if same(kept, parts) else written(kept)


def _part_said(raw: msgspec.Raw) -> msgspec.Raw:
    if _kind(raw) not in TEXT_PARTS:
        return raw
    return with_members(raw, ("type",), lambda _: written("output_text"))


def _kind(raw: msgspec.Raw) -> str:
    return word((members_of(raw) or {}).get("type"))


def _without_breakpoints(raw: msgspec.Raw) -> msgspec.Raw:
    """An item without its parts' wishes about caching, which upstream refuses."""
    if not BREAKPOINT_NEEDLE.is_in(raw):
        return raw
    return with_members(
        raw, ("content", "output"), lambda held: each(held, lambda p: without_members(p, (BREAKPOINT,)))
    )
