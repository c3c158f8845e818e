"""A streamed answer and a whole one say the same, whatever pieces upstream sends it in."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.translate.chat_answer import AnswerHead, completion
from codex_lb.gateway.translate.chat_events import ChatChunks
from codex_lb.gateway.turn.chat_delivery import events_in
from codex_lb.gateway.turn.sse import EventScanner, Kind, segment_of_frame

HEAD = AnswerHead("chatcmpl-turn_1", 1_700_000_000, "m")
USAGE = {
    "input_tokens": 12,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 15,
}
IN_CHAT = {
    "prompt_tokens": 12,
    "completion_tokens": 3,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
Event = tuple[str, dict[str, Any]]


def event(kind: str, **members: Any) -> Event:
    return f"response.{kind}", members


def text(delta: str, at: int = 0) -> Event:
    return event("output_text.delta", item_id=f"msg_{at}", output_index=at, delta=delta)


def call_added(at: int = 0, **more: Any) -> Event:
    item = {"type": "function_call", "id": f"fc_{at}", "call_id": f"call_{at}", "name": "f", "arguments": "", **more}
    return event("output_item.added", output_index=at, item=item)


def call_done(arguments: str, at: int = 0, **more: Any) -> Event:
    name, members = call_added(at, arguments=arguments, **more)
    return name.replace("added", "done"), members


def arguments(delta: str, at: int = 0, **more: Any) -> Event:
    return event("function_call_arguments.delta", **{"item_id": f"fc_{at}", "output_index": at, "delta": delta, **more})


def thought(delta: str, at: int = 0, part: int = 0) -> Event:
    members = {"item_id": f"rs_{at}", "output_index": at, "summary_index": part, "delta": delta}
    return event("reasoning_summary_text.delta", **members)


def thought_done(at: int = 0, data: str | None = "gAAA", *summary: str) -> Event:
    parts = [{"type": "summary_text", "text": one} for one in summary]
    item = {"type": "reasoning", "id": f"rs_{at}", "summary": parts, "encrypted_content": data}
    return event("output_item.done", output_index=at, item=item)


def completed(**more: Any) -> Event:
    return event("completed", response={"id": "r", "output": [], "usage": USAGE, **more})


def streamed(*events: Event, includes_usage: bool = False) -> bytes:
    """The bytes that a client gets."""
    chunks = ChatChunks(HEAD, includes_usage=includes_usage)
    told = b""
    for name, members in events:
        data = json.dumps({"type": name, **members}, ensure_ascii=False).encode()
        ends = name in ("response.completed", "response.incomplete")
        told += chunks.finish(data) if ends else chunks.take(name.encode(), data)
    return told


def chunks(*events: Event, includes_usage: bool = False) -> list[dict[str, Any]]:
    """The chunks in front of `[DONE]`."""
    return parsed(streamed(*events, includes_usage=includes_usage))


def parsed(stream: bytes) -> list[dict[str, Any]]:
    *told, done, rest = stream.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    assert all(one.startswith(b"data: ") and b"\n" not in one for one in told)
    return [json.loads(one[6:]) for one in told]


def deltas(*events: Event) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in chunks(*events)]


def message_of(told: list[dict[str, Any]]) -> dict[str, Any]:
    """The message as a client puts it together."""
    made: dict[str, Any] = {"content": "", "refusal": "", "reasoning_content": "", "reasoning_details": []}
    calls: dict[int, dict[str, Any]] = {}
    for delta in told:
        for name in ("content", "refusal", "reasoning_content", "reasoning_details"):
            made[name] += delta.get(name, type(made[name])())
        for piece in delta.get("tool_calls", []):
            if piece["index"] not in calls:
                assert piece["id"]
                assert piece["function"]["name"]
                calls[piece["index"]] = piece
            else:
                assert "id" not in piece
                calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
    return {**made, "tool_calls": [calls[index] for index in sorted(calls)]}


def test_every_chunk_says_which_answer_it_belongs_to_and_the_first_who_speaks() -> None:
    made = chunks(text("Hi"), text(" there"), completed())

    frame = {"id": HEAD.answer_id, "object": "chat.completion.chunk", "created": HEAD.created, "model": "m"}
    assert made == [
        {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        for delta, reason in [
            ({"role": "assistant", "content": "Hi"}, None),
            ({"content": " there"}, None),
            ({}, "stop"),
        ]
    ]


def test_usage_comes_last_and_only_when_asked() -> None:
    made = chunks(text("Hi"), completed(), includes_usage=True)

    assert [chunk["usage"] for chunk in made] == [None, None, IN_CHAT]
    assert made[-1]["choices"] == []
    assert all("usage" not in chunk for chunk in chunks(text("Hi"), completed()))
    assert len(chunks(text("Hi"), completed(usage=None), includes_usage=True)) == 2


@given(st.text())
def test_text_goes_through_unharmed(said: str) -> None:
    assert message_of(deltas(text(said), completed()))["content"] == said


def test_two_messages_are_two_paragraphs() -> None:
    assert (
        message_of(deltas(text("a"), text("b"), text("c", at=2), text("d", at=2), completed()))["content"] == "ab\n\ncd"
    )


def test_a_refusal_is_a_refusal() -> None:
    made = deltas(event("refusal.delta", output_index=0, delta="no"), completed())

    assert made == [{"role": "assistant", "refusal": "no"}, {}]


def test_a_call_is_announced_once_and_its_arguments_only_grow() -> None:
    made = deltas(call_added(), arguments('{"a":'), arguments("1}"), call_done('{"a":1}'), completed())

    announced = {"index": 0, "id": "call_0", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert made == [
        {"role": "assistant", "tool_calls": [announced]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
        {},
    ]


@given(st.lists(st.text(max_size=6), max_size=8), st.integers(0, 8), st.booleans(), st.booleans())
def test_arguments_add_up_to_what_upstream_said(pieces: list[str], lost: int, is_added: bool, is_told: bool) -> None:
    whole = "".join(pieces)
    end = event("function_call_arguments.done", item_id="fc_0", output_index=0, arguments=whole)
    events = [arguments(piece) for piece in pieces[: len(pieces) - lost]]  # the last ones may not come

    made = message_of(
        deltas(
            *([call_added()] if is_added else []), *events, *([end] if is_told else []), call_done(whole), completed()
        )
    )

    (call,) = made["tool_calls"]
    assert (call["index"], call["id"], call["function"]["arguments"]) == (0, "call_0", whole)


@given(st.lists(st.tuples(st.integers(0, 2), st.text(max_size=4)), max_size=12))
def test_parallel_calls_never_mix(pieces: list[tuple[int, str]]) -> None:
    events = [arguments(piece, at) for at, piece in pieces]

    made = message_of(deltas(*[call_added(at) for at in range(3)], *events, completed()))

    whole = ["".join(piece for at, piece in pieces if at == n) for n in range(3)]
    assert [call["function"]["arguments"] for call in made["tool_calls"]] == whole
    assert [call["id"] for call in made["tool_calls"]] == ["call_0", "call_1", "call_2"]


@pytest.mark.parametrize(
    "named",
    [
        {"item_id": "changes every time"},
        {"output_index": -1},
        {"output_index": -1, "item_id": "", "call_id": "call_0"},
    ],
    ids=str.split("place item call"),
)
def test_a_call_is_known_by_any_of_its_names(named: dict[str, Any]) -> None:
    made = message_of(deltas(call_added(), arguments("{}", **named), call_done("{}"), completed()))

    assert [call["function"]["arguments"] for call in made["tool_calls"]] == ["{}"]


def test_arguments_that_upstream_takes_back_stay_as_they_were_sent() -> None:
    made = message_of(deltas(call_added(), arguments('{"a"'), call_done('{"b":1}'), completed()))

    assert made["tool_calls"][0]["function"]["arguments"] == '{"a"'


def test_a_call_without_a_name_is_no_call() -> None:
    made = chunks(arguments("{}", at=5), call_added(6), completed())

    assert [c["index"] for c in made[0]["choices"][0]["delta"]["tool_calls"]] == [0]


def test_a_custom_tools_input_is_text() -> None:
    item = {"type": "custom_tool_call", "id": "ctc", "call_id": "call_1", "name": "exec", "input": ""}
    made = deltas(
        event("output_item.added", output_index=0, item=item),
        event("custom_tool_call_input.delta", item_id="ctc", output_index=0, delta="print()"),
        event("output_item.done", output_index=0, item={**item, "input": "print()"}),
        completed(),
    )

    assert made[:2] == [
        {
            "role": "assistant",
            "tool_calls": [{"index": 0, "id": "call_1", "type": "custom", "custom": {"name": "exec", "input": ""}}],
        },
        {"tool_calls": [{"index": 0, "custom": {"input": "print()"}}]},
    ]


def test_reasoning_comes_in_both_forms_and_sealed_at_its_end() -> None:
    made = deltas(
        thought("**a"), thought("b**"), thought("c", part=1), thought_done(0, "gAAA", "**ab**", "c"), completed()
    )

    about = {"id": "rs_0", "format": "openai-responses-v1", "index": 0}
    assert [delta.get("reasoning_content") for delta in made] == ["**a", "b**", "\n\nc", None, None]
    assert [detail for delta in made for detail in delta.get("reasoning_details", [])] == [
        {"type": "reasoning.summary", "summary": "**a", **about},
        {"type": "reasoning.summary", "summary": "b**", **about},
        {"type": "reasoning.summary", "summary": "\n\nc", **about},
        {"type": "reasoning.encrypted", "data": "gAAA", **about},
    ]


def test_two_thoughts_are_two_paragraphs_of_plain_reasoning_and_two_details() -> None:
    made = message_of(deltas(thought("a"), thought_done(0, None), thought_done(2, "gBBB", "b"), completed()))

    assert made["reasoning_content"] == "a\n\nb"
    assert [(d["index"], d.get("summary", d.get("data"))) for d in made["reasoning_details"]] == [
        (0, "a"),
        (1, "b"),
        (1, "gBBB"),
    ]


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (completed(), "stop"),
        (event("incomplete", response={"incomplete_details": {"reason": "max_output_tokens"}}), "length"),
        (event("incomplete", response={"incomplete_details": {"reason": "content_filter"}}), "content_filter"),
        (event("incomplete", response={"incomplete_details": {"reason": "who knows"}}), "stop"),
    ],
)
def test_an_answer_says_why_it_ends(end: Event, reason: str) -> None:
    assert chunks(text("x"), end)[-1]["choices"][0]["finish_reason"] == reason


def test_a_call_ends_the_answer_unless_it_was_cut_short() -> None:
    cut = event("incomplete", response={"incomplete_details": {"reason": "max_output_tokens"}})

    assert chunks(call_added(), call_done("{}"), completed())[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks(call_added(), arguments("{"), cut)[-1]["choices"][0]["finish_reason"] == "length"


ITEMS: list[dict[str, Any]] = [
    {
        "type": "reasoning",
        "id": "rs_0",
        "summary": [{"type": "summary_text", "text": "hm"}, {"type": "summary_text", "text": "so"}],
        "encrypted_content": "gAAA",
    },
    {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "I look."}]},
    {"type": "web_search_call", "id": "ws_2", "action": {"type": "search"}},
    {"type": "function_call", "id": "fc_3", "call_id": "call_3", "name": "f", "arguments": "{}"},
    {"type": "message", "id": "msg_4", "content": [{"type": "refusal", "refusal": "no"}]},
]


@pytest.mark.parametrize("is_in_events", [True, False], ids=["items in events", "items in the end"])
def test_a_whole_answer_and_a_stream_say_the_same(is_in_events: bool) -> None:
    events = [event("output_item.done", output_index=n, item=item) for n, item in enumerate(ITEMS)]
    end = completed(output=ITEMS)

    whole = json.loads(completion(json.dumps(end[1]["response"]).encode(), HEAD).body)
    told = chunks(*events, completed()) if is_in_events else chunks(end)

    choice = whole["choices"][0]
    assert choice["message"] == {
        "role": "assistant",
        "content": "I look.",
        "refusal": "no",
        "reasoning_content": "hm\n\nso",
        "reasoning_details": [
            {
                "type": "reasoning.summary",
                "summary": "hm\n\nso",
                "id": "rs_0",
                "format": "openai-responses-v1",
                "index": 0,
            },
            {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_0", "format": "openai-responses-v1", "index": 0},
        ],
        "tool_calls": [{"id": "call_3", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    assert (choice["finish_reason"], whole["usage"]) == ("tool_calls", IN_CHAT)
    streamed_message = message_of([chunk["choices"][0]["delta"] for chunk in told])
    for call in streamed_message["tool_calls"]:
        del call["index"]
    assert streamed_message == {name: v for name, v in choice["message"].items() if name != "role"} | {"refusal": "no"}


def test_a_whole_answer_without_words_has_no_content_beside_calls() -> None:
    of_calls = json.loads(completion(json.dumps({"output": ITEMS[3:4]}).encode(), HEAD).body)
    of_nothing = json.loads(completion(b'{"output":[]}', HEAD).body)

    assert of_calls["choices"][0]["message"]["content"] is None
    assert of_nothing["choices"][0]["message"]["content"] == ""
    assert of_nothing["usage"] is None


def test_an_answer_of_nothing_still_says_who_was_silent() -> None:
    assert deltas(completed()) == [{"role": "assistant", "content": ""}]


def test_what_says_nothing_to_a_chat_client_is_left_out() -> None:
    made = deltas(
        event("created", response={}),
        event("output_item.added", output_index=0, item={"type": "message", "content": []}),
        event("content_part.added", output_index=0, part={}),
        text("x"),
        event("output_text.done", output_index=0, text="x"),
        event("future.delta", delta="?"),
        event(
            "output_item.done",
            output_index=0,
            item={"type": "message", "content": [{"type": "output_text", "text": "x"}]},
        ),
        completed(),
    )

    assert made == [{"role": "assistant", "content": "x"}, {}]


@pytest.mark.parametrize("data", [b"{not json", b"[]", b'{"delta":5}', b'{"delta":{}}', b"\xff", b'{"item":7}', b""])
@pytest.mark.parametrize(
    "name", ["output_text.delta", "function_call_arguments.delta", "output_item.done", "reasoning_summary_text.delta"]
)
def test_an_event_that_cannot_be_read_says_nothing(name: str, data: bytes) -> None:
    assert ChatChunks(HEAD, includes_usage=False).take(b"response." + name.encode(), data) == b""


def test_an_end_that_cannot_be_read_is_no_end() -> None:
    with pytest.raises(msgspec.DecodeError):
        ChatChunks(HEAD, includes_usage=False).finish(b"{not json")


CONVERSATION: list[Event] = [
    event("created", response={}),
    thought("**why**"),
    thought_done(0, "gAAA", "**why**"),
    text("Grüße, ", at=1),
    text("🌦 \n\n data: x", at=1),
    call_added(2),
    arguments('{"city":', 2),
    arguments('"Zürich"}', 2),
    call_done('{"city":"Zürich"}', 2),
]


@given(
    cuts=st.lists(st.integers(1, 2_000), max_size=12),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    is_named=st.booleans(),
)
def test_any_chunking_of_the_stream_gives_the_same_chunks(cuts: list[int], line_end: str, is_named: bool) -> None:
    def written(name: str, members: dict[str, Any]) -> str:
        lines = [f"event: {name}"] if is_named else []
        lines.append("data: " + json.dumps({"type": name, **members}, ensure_ascii=False))
        return line_end.join([*lines, "", ""])

    stream = "".join(written(*one) for one in CONVERSATION).encode()
    scanner, made, told = EventScanner(event_bytes_max=2**20), ChatChunks(HEAD, includes_usage=False), b""
    edges = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    for start, end in pairwise(edges):
        for segment in scanner.feed(stream[start:end]):
            if segment.kind in (Kind.ORDINARY, Kind.ITEM_DONE):
                told += b"".join(made.take(name, data) for name, data in events_in(segment))

    assert told == streamed(*CONVERSATION)


def test_frames_of_a_websocket_give_the_same_chunks_as_a_stream() -> None:
    made, told = ChatChunks(HEAD, includes_usage=False), b""
    for name, members in CONVERSATION:
        for named, data in events_in(segment_of_frame(json.dumps({"type": name, **members}, ensure_ascii=False))):
            told += made.take(named, data)

    assert told == streamed(*CONVERSATION)
