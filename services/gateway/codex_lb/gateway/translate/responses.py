"""Responses requests of clients to what upstream accepts. Pure.

Only the members named here are read or changed; everything else, known or not, keeps its bytes. A request that upstream
would take as it is stays the very same bytes object.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Final

import msgspec

from codex_lb.gateway.errors import UNREADABLE, InvalidRequestError
from codex_lb.gateway.sealed import ABSENT, Held, is_read_at_once
from codex_lb.gateway.translate.input_items import items_of_input, items_of_messages
from codex_lb.gateway.translate.key_terms import FREE, KeyTerms
from codex_lb.gateway.translate.members import (
    FALSE,
    TRUE,
    Members,
    Word,
    is_given,
    is_list,
    read,
    word,
    written,
)
from codex_lb.gateway.translate.model_alias import Catalog, named, upstream_effort
from codex_lb.gateway.translate.rewriting import each, members_of, same, with_members
from codex_lb.gateway.translate.strict_schema import check_text, check_tools
from codex_lb.kit.needle import Needle

# What some clients call otherwise, and the member (and member of that) where it belongs. What stands there counts, then
# the first of these.
ALIASES: Final = {
    "promptCacheKey": ("prompt_cache_key", ""),
    "promptCacheRetention": ("prompt_cache_retention", ""),
    "textVerbosity": ("text", "verbosity"),
    "verbosity": ("text", "verbosity"),
    "reasoningEffort": ("reasoning", "effort"),
    "reasoning_effort": ("reasoning", "effort"),
    "reasoningSummary": ("reasoning", "summary"),
    "reasoning_summary": ("reasoning", "summary"),
    "thinking": ("reasoning", "effort"),
    "enable_thinking": ("reasoning", "effort"),
}
EFFORT_OF_THINKING: Final = {  # other vendors only know on and off
    **dict.fromkeys(("true", "enabled", "adaptive", "auto", "on"), "medium"),
    **dict.fromkeys(("false", "disabled", "none", "off"), "minimal"),
    **{effort: effort for effort in ("minimal", "low", "medium", "high", "xhigh", "max", "ultra")},
}
INCLUDABLE: Final = frozenset({
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
})  # fmt: skip
THOUGHTS: Final = "reasoning.encrypted_content"
TRUNCATIONS: Final = ("auto", "disabled")
WEB_SEARCH_PREVIEW: Final = "web_search_preview"  # and its dated variants
WEB_SEARCH: Final = Needle(WEB_SEARCH_PREVIEW.encode())
UPSTREAM_TIER: Final = {"fast": "priority"}
NULL = msgspec.Raw(b"null")


class NotForUpstream(msgspec.Struct):
    """Members that upstream answers with "Unsupported parameter" (data-plane reference 1.5)."""

    max_output_tokens: msgspec.Raw = ABSENT
    metadata: msgspec.Raw = ABSENT
    prompt_cache_options: msgspec.Raw = ABSENT
    prompt_cache_retention: msgspec.Raw = ABSENT
    safety_identifier: msgspec.Raw = ABSENT
    temperature: msgspec.Raw = ABSENT
    top_p: msgspec.Raw = ABSENT
    truncation: msgspec.Raw = ABSENT
    user: msgspec.Raw = ABSENT


NOT_FOR_UPSTREAM: Final = NotForUpstream.__struct_fields__
_UNWANTED, _NONE_OF_THEM = attrgetter(*NOT_FOR_UPSTREAM), (ABSENT,) * len(NOT_FOR_UPSTREAM)


class Reasoning(msgspec.Struct):
    """What is read of `reasoning`."""

    effort: Word | None = None


class ResponsesRequest(NotForUpstream):
    """What is read of a request; wrong types in these members are refused."""

    model: Word = ""
    stream: bool | None = None
    service_tier: Word | None = None
    reasoning: Reasoning | None = None
    prompt_cache_key: str | None = None
    previous_response_id: str | None = None


READ: Final = tuple(name for name in ResponsesRequest.__struct_fields__ if name not in NOT_FOR_UPSTREAM)


class NativeRequest(ResponsesRequest):
    """All that is looked at of a request of Codex's, in one pass: its input is large."""

    store: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT
    tool_choice: msgspec.Raw = ABSENT
    input: Held = None
    item: msgspec.Raw = ABSENT  # these two stand in no request
    encrypted_content: msgspec.Raw = ABSENT

    def needs_a_closer_look(self) -> bool:
        """Whether it has what upstream refuses or calls otherwise, or might."""
        return (
            self.store != FALSE
            or self.item is not ABSENT
            or self.encrypted_content is not ABSENT
            or self.previous_response_id is not None
            or _UNWANTED(self) != _NONE_OF_THEM
            or WEB_SEARCH.is_in(self.tools)
            or WEB_SEARCH.is_in(self.tool_choice)
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """The model and how it thinks, after the client's wish, the terms of its key, and what upstream knows."""

    model: str
    effort: str
    tier: str


@dataclass(frozen=True, slots=True)
class ResponsesTurn:
    """A request as upstream takes it, and what else needs to be known of it."""

    body: bytes  # for upstream
    requested_model: str
    model: str
    is_streamed: bool
    reasoning_effort: str
    service_tier: str
    is_stored: bool = False  # as the public API does unless it is told not to: the client may come back to the answer
    input: Held = None  # where it was read


def native_turn(body: bytes, catalog: Catalog, terms: KeyTerms = FREE, *, is_frame: bool = False) -> ResponsesTurn:
    """A request of Codex, which by itself says what upstream takes. Raises InvalidRequestError naming the member, and
    ForbiddenError for what the key may not ask for.

    `is_frame`: it came over a socket, which streams by nature.
    """
    turn = _as_it_is(body, catalog, terms, is_frame=is_frame)
    if turn is not None:
        return turn
    members = read(body, Members)
    return _turn(body, members, members, catalog, terms, is_frame=is_frame)


def _as_it_is(body: bytes, catalog: Catalog, terms: KeyTerms, *, is_frame: bool) -> ResponsesTurn | None:
    """A request in which nothing needs to be changed; None where something may, or is not as it should be."""
    if not is_read_at_once(body):
        return None
    try:
        asked = msgspec.json.decode(body, type=NativeRequest)
    except UNREADABLE:
        return None
    is_streamed = asked.stream is True
    if asked.needs_a_closer_look() or not asked.model.strip() or not (is_streamed or is_frame):
        return None
    choice = _choice(asked, catalog, terms)
    if choice != _wish(asked):
        return None
    return ResponsesTurn(body, asked.model, choice.model, is_streamed, choice.effort, choice.tier, input=asked.input)


def public_turn(body: bytes, catalog: Catalog, terms: KeyTerms = FREE) -> ResponsesTurn:
    """A request in the public dialect, checked and put into upstream's words. Raises InvalidRequestError likewise."""
    members = read(body, Members)
    sent = _with_own_names(members)
    sent["input"] = _input(sent)
    sent.pop("messages", None)
    if not is_given(sent.get("instructions")):
        sent["instructions"] = written("")
    if is_given(include := sent.get("include", NULL)):
        _check_include(include)
    if sent.get("store") != FALSE:
        sent["include"] = _with_thoughts(include)
    if "text" in sent:
        check_text(sent["text"])
    if "tools" in sent:
        check_tools(sent["tools"])
    return _turn(body, members, sent, catalog, terms)


def _turn(
    body: bytes, members: Members, prepared: Members, catalog: Catalog, terms: KeyTerms, *, is_frame: bool = False
) -> ResponsesTurn:
    """What both dialects have in common: members that upstream refuses, or calls otherwise."""
    asked = read(written({name: prepared[name] for name in READ if name in prepared}), ResponsesRequest)
    if not asked.model.strip():
        raise InvalidRequestError("Invalid request payload", param="model")
    choice, wish = _choice(asked, catalog, terms), _wish(asked)
    _check_truncation(prepared.get("truncation", NULL))
    sent = {name: raw for name, raw in prepared.items() if name not in NOT_FOR_UPSTREAM}
    if choice.model != wish.model:
        sent["model"] = written(choice.model)
    if choice.effort != wish.effort:
        sent["reasoning"] = written({**_inner(sent, "reasoning"), "effort": choice.effort})
    if wish.tier and not choice.tier:
        del sent["service_tier"]
    elif choice.tier != wish.tier:
        sent["service_tier"] = written(choice.tier)
    if asked.previous_response_id is not None:
        _place_previous(sent, asked.previous_response_id)
    for name in sent.keys() & {"tools", "tool_choice"}:
        sent[name] = _with_web_search(sent[name])
    if asked.stream is not True and not is_frame:
        sent["stream"] = TRUE
    if sent.get("store") != FALSE:
        sent["store"] = FALSE
    is_same = len(sent) == len(members) and same(sent.values(), map(members.get, sent))
    return ResponsesTurn(
        body=body if is_same else msgspec.json.encode(sent),
        requested_model=asked.model,
        model=choice.model,
        is_streamed=asked.stream is True,
        reasoning_effort=choice.effort,
        service_tier=choice.tier,
        is_stored=prepared.get("store") != FALSE,
    )


def _wish(asked: ResponsesRequest) -> Choice:
    """What the client would have."""
    return Choice(asked.model, (asked.reasoning.effort or "") if asked.reasoning else "", asked.service_tier or "")


def _choice(asked: ResponsesRequest, catalog: Catalog, terms: KeyTerms) -> Choice:
    """What it gets. Raises ForbiddenError."""
    wish = _wish(asked)
    alias = named(terms.model or wish.model, catalog)
    effort = upstream_effort(terms.effort_for(alias.effort or wish.effort), catalog.get(alias.model, ()))
    tier = terms.tier_for(wish.tier or alias.service_tier)
    return Choice(alias.model, effort, UPSTREAM_TIER.get(tier, tier))


def _with_own_names(members: Members) -> Members:
    """The members under the names that upstream knows."""
    own = {name: raw for name, raw in members.items() if name not in ALIASES}
    for name, (outer, inner) in ALIASES.items():
        raw = members.get(name, NULL)
        if name in ("thinking", "enable_thinking"):
            raw = written(_effort_of(raw))
        if not is_given(raw):
            continue
        if not inner and not is_given(own.get(outer)):
            own[outer] = raw
        elif inner and not is_given((held := _inner(own, outer)).get(inner)):
            own[outer] = written({**held, inner: raw})
    return own


def _effort_of(thinking: msgspec.Raw) -> str | None:
    """The effort that another vendor's wish for thinking comes to: true, a word, or an object with a type."""
    inner = members_of(thinking)
    said = word(thinking) if inner is None else word(inner.get("effort")) or word(inner.get("type"))
    return EFFORT_OF_THINKING.get("true" if thinking == TRUE else "false" if thinking == FALSE else said.lower())


def _input(members: Members) -> msgspec.Raw:
    """The input items, from whichever of the two members has them."""
    messages, items = members.get("messages", NULL), members.get("input", NULL)
    if not is_given(messages):
        return items_of_input(items)
    if is_given(items):
        raise InvalidRequestError("Send either input or messages, not both", param="messages")
    return items_of_messages(messages)


def _check_include(raw: msgspec.Raw) -> None:
    unknown = next((name for name in read(raw, list[str], "include") if name not in INCLUDABLE), None)
    if unknown is not None:
        raise InvalidRequestError(f"Unsupported include value: '{unknown[:100]}'", param="include")


def _with_thoughts(include: msgspec.Raw) -> msgspec.Raw:
    """What to include for a client that lets us store its answers: it will name its reasoning, and we must have it whole."""
    names = read(include, list[str], "include") if is_given(include) else []
    return include if THOUGHTS in names else written([*names, THOUGHTS])


def _check_truncation(raw: msgspec.Raw) -> None:
    """Upstream truncates nothing; a client that asks for something unheard of is told."""
    if is_given(raw) and word(raw) not in TRUNCATIONS:
        raise InvalidRequestError("truncation must be 'auto' or 'disabled'", param="truncation")


def _place_previous(sent: Members, previous: str) -> None:
    """The response to go on from, without blanks around it; a blank one is none."""
    stripped = previous.strip()
    if stripped and is_given(sent.get("conversation")):
        message = "Send either previous_response_id or conversation, not both"
        raise InvalidRequestError(message, param="previous_response_id")
    if not stripped:
        del sent["previous_response_id"]
    elif stripped != previous:
        sent["previous_response_id"] = written(stripped)


def _with_web_search(raw: msgspec.Raw) -> msgspec.Raw:
    """Tools, or a choice among them, with web search under its present name."""
    if not WEB_SEARCH.is_in(raw):
        return raw
    if is_list(raw):
        return each(raw, _renamed)
    return with_members(_renamed(raw), ("tools",), lambda allowed: each(allowed, _renamed))


def _renamed(tool: msgspec.Raw) -> msgspec.Raw:
    return with_members(
        tool, ("type",), lambda kind: written("web_search") if word(kind).startswith(WEB_SEARCH_PREVIEW) else kind
    )


def _inner(members: Members, name: str) -> Members:
    """The members of a member, none if it is not there."""
    return read(members[name], Members, name) if is_given(members.get(name)) else {}
