"""Compaction requests as turns that end in a compaction item, and their answers back. Pure.

Data-plane reference 1.9. Older Codex and the SDKs ask a route of its own; upstream makes one of any turn whose last item
says so, which is how newer Codex asks. Nothing is cut out of a conversation that is too long: upstream says so itself.
"""

from __future__ import annotations

import msgspec

from codex_lb.gateway.errors import UNREADABLE, InvalidRequestError, UpstreamFailedError
from codex_lb.gateway.outcome import Blame, Fault
from codex_lb.gateway.translate.members import FALSE, TRUE, Members, is_list, read, word

TRIGGER = msgspec.Raw(b'{"type":"compaction_trigger"}')
DROPPED = frozenset({"store", "text", "tools", "tool_choice", "client_metadata"})
KINDS = frozenset({"compaction", "compaction_summary"})  # the second is what some models call it
OBJECT = msgspec.Raw(b'"response.compaction"')
# What Codex is given: of the response, and of its one item.
KEPT = ("id", "created_at", "status", "model", "usage", "service_tier")
KEPT_OF_ITEM = ("type", "encrypted_content", "id", "status")


def compaction_body(body: bytes) -> bytes:
    """A request, as upstream takes turns, as one for a compaction. Raises InvalidRequestError."""
    members = {name: raw for name, raw in read(body, Members).items() if name not in DROPPED}
    given = members.get("input")
    if given is None or not is_list(given):
        raise InvalidRequestError("Invalid request payload", param="input")
    items = read(given, list[msgspec.Raw], "input")
    if not items or not is_trigger(items[-1]):
        items.append(TRIGGER)
    changed = {"input": items, "parallel_tool_calls": FALSE, "store": FALSE, "stream": TRUE}
    return msgspec.json.encode({**members, **changed})


def is_trigger(item: msgspec.Raw) -> bool:
    """Whether the item asks for a compaction."""
    return _kind(item) == "compaction_trigger"


def compaction_answer(response: bytes, *, is_narrow: bool) -> bytes:
    """The answer out of a finished response; narrow: the compaction item and nothing else. Raises UpstreamFailedError."""
    try:
        members = msgspec.json.decode(response, type=Members)
        items = msgspec.json.decode(members["output"], type=list[msgspec.Raw])
    except (*UNREADABLE, KeyError) as error:
        raise _missing() from error
    item = next((item for item in items if _kind(item) in KINDS), None)
    if item is None:
        raise _missing()
    if not is_narrow:
        return msgspec.json.encode({**members, "object": OBJECT})
    found = msgspec.json.decode(item, type=Members)
    return msgspec.json.encode(
        {
            "object": OBJECT,
            **{name: members[name] for name in KEPT if name in members},
            "output": [{name: found[name] for name in KEPT_OF_ITEM if name in found}],
        }
    )


def _kind(item: msgspec.Raw) -> str:
    try:
        return word(msgspec.json.decode(item, type=Members).get("type"))
    except UNREADABLE:
        return ""


def _missing() -> UpstreamFailedError:
    message = "Compact response did not include a compaction output item"
    return UpstreamFailedError(Fault("upstream_error", Blame.UPSTREAM, message))
