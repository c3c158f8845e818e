"""A chat client is told what happened: chunks or one object, and a failure once, by its status while that is possible."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Message

from codex_lb.gateway.errors import GatewayError, PoolBusyError, UpstreamFailedError
from codex_lb.gateway.translate.chat_answer import AnswerHead
from codex_lb.gateway.translate.chat_messages import Thought
from codex_lb.gateway.turn.chat_delivery import ChatJsonDelivery, ChatStreamDelivery
from codex_lb.gateway.turn.sse import Segment, kind_of

HEAD = AnswerHead("chatcmpl-turn_1", 1_700_000_000, "m")


def kept_nowhere(_account_id: str, _call_ids: Sequence[str], _thoughts: Sequence[Thought]) -> None:
    """Forgets at once."""


class Wire:
    """What a client gets."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(m["body"] for m in self.messages if m["type"] == "http.response.body")

    @property
    def is_closed(self) -> bool:
        return bool(self.messages) and not self.messages[-1].get("more_body", True)


def segment(name: str, **members: Any) -> Segment:
    raw = f"event: {name}\ndata: {json.dumps({'type': name, **members})}\n\n".encode()
    return Segment(kind_of(raw), raw)


def text(delta: str) -> Segment:
    return segment("response.output_text.delta", output_index=0, delta=delta)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def stream(wire: Wire) -> ChatStreamDelivery:
    return ChatStreamDelivery(wire.send, HEAD, [(b"x-request-id", b"turn_1")], kept_nowhere, includes_usage=False)


async def test_a_stream_opens_with_its_first_chunk(wire: Wire, stream: ChatStreamDelivery) -> None:
    stream.begin([("content-type", "text/event-stream"), ("set-cookie", "a=b")], "acc")
    await stream.take(segment("response.created", response={}))
    assert (wire.messages, stream.is_visible) == ([], False)

    await stream.take(text("Hi"))
    await stream.take(segment("response.completed", response={}))
    await stream.end()

    assert wire.messages[0]["status"] == 200
    assert dict(wire.messages[0]["headers"])[b"content-type"] == b"text/event-stream"
    assert b"set-cookie" not in dict(wire.messages[0]["headers"])
    assert wire.body.endswith(b'"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
    assert stream.is_visible
    assert stream.bytes_sent == len(wire.body)
    assert wire.is_closed


async def test_an_attempt_that_said_nothing_leaves_nothing_behind(wire: Wire, stream: ChatStreamDelivery) -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": []}
    stream.begin([], "one")
    await stream.take(segment("response.output_item.added", output_index=0, item=item))
    assert not stream.is_visible

    stream.begin([], "other")
    await stream.take(
        segment("response.reasoning_summary_text.delta", item_id="rs_2", output_index=0, summary_index=0, delta="x")
    )
    await stream.flush()

    assert b'"id":"rs_2"' in wire.body
    assert b"rs_1" not in wire.body


async def test_a_failure_before_anything_was_sent_is_left_to_a_status(wire: Wire, stream: ChatStreamDelivery) -> None:
    assert await stream.fail(PoolBusyError("busy")) is False
    assert await stream.pass_on([segment("response.failed", response={})]) is False
    assert wire.messages == []


async def test_a_failure_behind_a_keep_alive_is_told_in_the_stream(wire: Wire, stream: ChatStreamDelivery) -> None:
    await stream.keep_alive()
    assert not stream.is_visible

    assert await stream.fail(PoolBusyError("busy")) is True

    comment, error, done, rest = wire.body.split(b"\n\n")
    assert (comment, done, rest) == (b": keepalive", b"data: [DONE]", b"")
    assert json.loads(error[6:]) == {
        "error": {"message": "busy", "type": "rate_limit_error", "code": "server_error", "param": None}
    }
    assert wire.is_closed


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"code": "context_length_exceeded", "message": "too long"}, "context_length_exceeded", "too long"),
        ({"code": "of their own", "message": "hm"}, "server_error", "hm"),
        ("not an object", "server_error", "Upstream error"),
        (None, "server_error", "Upstream error"),
    ],
)
async def test_upstreams_own_failure_ends_the_stream(
    wire: Wire, stream: ChatStreamDelivery, error: object, code: str, message: str
) -> None:
    await stream.take(text("Hi"))
    await stream.take(segment("response.failed", response={"error": error}))
    await stream.end()

    *_, last, done, _ = wire.body.split(b"\n\n")
    assert json.loads(last[6:])["error"] == {"message": message, "type": "server_error", "code": code, "param": None}
    assert done == b"data: [DONE]"
    assert wire.body.count(b"[DONE]") == 1


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_an_end_that_cannot_be_read_is_upstreams_failure(wire: Wire, is_streamed: bool) -> None:
    broken = b"event: response.completed\ndata: {not json\n\n"
    delivery = (
        ChatStreamDelivery(wire.send, HEAD, [], kept_nowhere, includes_usage=False)
        if is_streamed
        else ChatJsonDelivery(wire.send, HEAD, [], kept_nowhere)
    )

    with pytest.raises(UpstreamFailedError) as failed:
        await delivery.take(Segment(kind_of(broken), broken))

    assert isinstance(failed.value, GatewayError)
    assert failed.value.status == 502


async def test_one_object_is_sent_when_it_is_whole(wire: Wire) -> None:
    whole = ChatJsonDelivery(wire.send, HEAD, [], kept_nowhere)
    item = {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}

    whole.begin([("content-type", "text/event-stream")], "acc")
    await whole.take(segment("response.output_item.done", output_index=0, item=item))
    await whole.take(segment("response.completed", response={"output": []}))
    assert wire.messages == []
    await whole.end()

    assert json.loads(wire.body)["choices"][0]["message"]["content"] == "Hi"
    assert dict(wire.messages[0]["headers"])[b"content-type"] == b"application/json"
