"""Gives a turn's answer to a client of Chat Completions: as chunks, or as one object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
from starlette.types import Send

from codex_lb.gateway.errors import UNREADABLE, GatewayError, UpstreamFailedError
from codex_lb.gateway.outcome import Blame, Fault
from codex_lb.gateway.translate.chat_answer import AnswerHead, completion
from codex_lb.gateway.translate.chat_events import DONE, ChatChunks
from codex_lb.gateway.translate.chat_messages import Thought
from codex_lb.gateway.turn.delivery import KNOWN_TO_CLIENTS, Dialect, JsonDelivery, SseDelivery, code_for_stream
from codex_lb.gateway.turn.meter import read_terminal
from codex_lb.gateway.turn.sse import Kind, Segment, data_of
from codex_lb.gateway.upstream.headers import Header, RawHeader

# Told once an answer is whole: the account, the calls, and the reasoning that led to them.
Keep = Callable[[str, Sequence[str], Sequence[Thought]], None]


class ChatStreamDelivery(SseDelivery):
    """A stream of chunks."""

    def __init__(
        self, send: Send, head: AnswerHead, own_headers: list[RawHeader], keep: Keep, *, includes_usage: bool
    ) -> None:
        super().__init__(send, Dialect.PUBLIC, own_headers, model_is_as_asked=True)
        self._keep = keep
        self._account_id = ""
        self._head = head
        self._includes_usage = includes_usage
        self._chunks = ChatChunks(head, includes_usage=includes_usage)

    def begin(self, headers: list[Header], account_id: str) -> None:
        """Nothing of an earlier attempt was told: an attempt that told something is the last one."""
        super().begin(headers, account_id)
        self._account_id = account_id
        self._chunks = ChatChunks(self._head, includes_usage=self._includes_usage)

    async def take(self, segment: Segment) -> None:
        """Says what of the segment concerns a chat client."""
        match segment.kind:
            case Kind.ORDINARY | Kind.ITEM_DONE:
                told = b"".join(self._chunks.take(name, data) for name, data in events_in(segment))
            case Kind.COMPLETED | Kind.INCOMPLETE:
                told = self._last_chunks(segment.data)
            case Kind.FAILED:
                told = failure_of(segment.data)
            case _:
                return
        if told:
            self._is_visible = True
            await self._write(told)

    async def fail(self, error: GatewayError) -> bool:
        """Tells an error where the status has gone out already."""
        if not self.status:
            return False
        await self._write(last_error(str(error), error.type, code_for_stream(error), error.param))
        await self.end()
        return True

    async def pass_on(self, withheld: list[Segment]) -> bool:  # noqa: ARG002 - upstream's dialect is not the client's
        return False

    def _last_chunks(self, data: bytes) -> bytes:
        try:
            told = self._chunks.finish(data)
        except UNREADABLE as error:
            raise unreadable_end() from error
        self._keep(self._account_id, self._chunks.call_ids, self._chunks.sealed)
        return told


class ChatJsonDelivery(JsonDelivery):
    """One chat completion, sent when it is whole."""

    def __init__(self, send: Send, head: AnswerHead, own_headers: list[RawHeader], keep: Keep) -> None:
        super().__init__(send, own_headers, model_is_as_asked=True)
        self._head = head
        self._keep = keep
        self._account_id = ""

    def begin(self, headers: list[Header], account_id: str) -> None:
        super().begin(headers, account_id)
        self._account_id = account_id

    async def take(self, segment: Segment) -> None:
        if segment.kind not in (Kind.COMPLETED, Kind.INCOMPLETE):
            await super().take(segment)
            return
        try:
            made = completion(self._fold.response(segment.data), self._head)
        except UNREADABLE as error:
            raise unreadable_end() from error
        self._response = made.body
        self._keep(self._account_id, made.call_ids, made.sealed)


def last_error(message: str, kind: str, code: str, param: str | None = None) -> bytes:
    """How a stream that has begun says that it will not end well."""
    error = {"message": message, "type": kind, "code": code, "param": param}
    return b"data: " + msgspec.json.encode({"error": error}) + b"\n\n" + DONE


def failure_of(data: bytes) -> bytes:
    """Upstream's own failure, under a code that clients know."""
    said = read_terminal(data).error
    code, message = (said.get("code"), said.get("message")) if isinstance(said, dict) else (None, None)
    return last_error(
        message if isinstance(message, str) else "Upstream error",
        "server_error",
        code if isinstance(code, str) and code in KNOWN_TO_CLIENTS else "server_error",
    )


def unreadable_end() -> UpstreamFailedError:
    """Upstream's last event says nothing that can be understood: no answer may be made of that."""
    return UpstreamFailedError(
        Fault("invalid_json", Blame.UPSTREAM, "Upstream ended its answer with an unreadable event")
    )


def events_in(segment: Segment) -> Iterator[tuple[bytes, bytes]]:
    """Name and data of each event in a segment."""
    if segment.frame is not None:
        yield name_of(segment.data), segment.data
        return
    raw = segment.raw
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for event in raw.split(b"\n\n"):
        name, _, data = event.partition(b"\n")
        if name.startswith(b"event: ") and data.startswith(b"data: ") and b"\n" not in data:  # as upstream writes them
            yield name[7:], data[6:]
        elif event:
            yield any_event(event)


def any_event(event: bytes) -> tuple[bytes, bytes]:
    """An event whose lines stand in any order; without a name it is named by its data."""
    data = data_of(event)
    names = [line[6:].strip() for line in event.split(b"\n") if line.startswith(b"event:")]
    return (names[-1] if names else name_of(data)), data


class Typed(msgspec.Struct):
    """What is read of an event without a name."""

    type: str = ""


def name_of(data: bytes) -> bytes:
    """The type of an event; empty when it cannot be read."""
    try:
        return msgspec.json.decode(data, type=Typed).type.encode()
    except UNREADABLE:
        return b""
