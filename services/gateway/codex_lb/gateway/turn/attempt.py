"""An attempt as one HTTP request: sent, judged, its event stream relayed to the end."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import anyio

from codex_lb.gateway.continuity.classify import without
from codex_lb.gateway.ingress.body import unpack
from codex_lb.gateway.leasing.held import Holding
from codex_lb.gateway.leasing.lease import Lease
from codex_lb.gateway.outcome import Blame, Broken, Completed, Fault, Outcome
from codex_lb.gateway.turn.context import TurnContext, Wish
from codex_lb.gateway.turn.relay import Relay
from codex_lb.gateway.turn.sse import EventScanner, EventTooLargeError, Segment
from codex_lb.gateway.upstream import quota
from codex_lb.gateway.upstream.blame import judge_answer
from codex_lb.gateway.upstream.headers import upstream_headers
from codex_lb.gateway.upstream.http import BrokenConnectionError, UpstreamAnswer, UpstreamHttp
from codex_lb.gateway.upstream.turn_state import account_of, without_foreign

RESPONSES_PATH = "/codex/responses"
ERROR_BODY_BYTES_MAX = 64 * 2**10  # upstream's errors are a few hundred bytes; a challenge page is some thousands
ERROR_BODY_S = 10.0  # the status says enough if the words do not come
PLAIN_BYTES_MAX = 2**30  # it was unpacked within the configured bound before
TAIL_S = 0.5  # for what may follow the last event; the client has its answer already


class HttpCaller:
    """A request per attempt. A turn state that the client holds says which account it would rather have."""

    def __init__(
        self, upstream: UpstreamHttp, headers: tuple[tuple[bytes, bytes], ...], *, event_bytes_max: int
    ) -> None:
        self._upstream = upstream
        self._wish = Wish(account_of(headers))
        self._event_bytes_max = event_bytes_max

    def wish(self) -> Wish:
        return self._wish

    def attempt(self, context: TurnContext) -> HttpAttempt:
        return HttpAttempt(context, self._upstream, context.request.body, event_bytes_max=self._event_bytes_max)


class HttpAttempt:
    """The state of one request."""

    def __init__(self, context: TurnContext, upstream: UpstreamHttp, body: bytes, *, event_bytes_max: int) -> None:
        self._context = context
        self._upstream = upstream
        self._body = body
        self._event_bytes_max = event_bytes_max
        self._relay: Relay | None = None

    @property
    def outcome(self) -> Outcome | None:
        return self._relay.outcome if self._relay else None

    @property
    def withheld(self) -> list[Segment]:
        return self._relay.withheld if self._relay else []

    @property
    def has_told_failure(self) -> bool:
        return self._relay is not None and self._relay.has_told_failure

    async def run(self, holding: Holding) -> Outcome:
        context, request, lease = self._context, self._context.request, holding.lease
        relay = self._relay = Relay(context, holding)
        body, content_encoding = readable(self._body, request.content_encoding, lease)
        headers = upstream_headers(
            without_foreign(request.headers, lease.account_id),
            access_token=lease.access_token,
            chatgpt_account_id=lease.chatgpt_account_id,
            accept="text/event-stream",
            content_encoding=content_encoding,
            request_id=request.turn_id,
        )
        holding.calls()
        context.timings.dispatched_s = context.elapsed()
        try:
            async with self._upstream.post(RESPONSES_PATH, headers=headers, body=body) as answer:
                context.timings.first_byte_s = context.elapsed()
                holding.begun()
                context.deadline.heard = context.clock.monotonic()
                relay.learn(quota.read_headers(answer.headers))
                if answer.status != 200:
                    body = b""
                    with anyio.move_on_after(ERROR_BODY_S):
                        body = await answer.read(ERROR_BODY_BYTES_MAX)
                    return judge_answer(answer.status, answer.headers, body, now=context.clock.now())
                context.delivery.begin(list(answer.headers.items()), lease.account_id)
                return await self._relayed(answer, relay)
        except BrokenConnectionError as error:
            return relay.broken(error.fault)
        except EventTooLargeError:
            message = f"An upstream event is larger than {self._event_bytes_max} bytes"
            return relay.outcome or Broken(Fault("stream_event_too_large", Blame.US, message))

    async def _relayed(self, answer: UpstreamAnswer, relay: Relay) -> Outcome:
        """Passes events on until upstream has said how it ends."""
        scanner = EventScanner(event_bytes_max=self._event_bytes_max)
        deadline, monotonic, take = self._context.deadline, self._context.clock.monotonic, relay.take
        while chunk := await answer.chunk():
            deadline.heard = monotonic()
            for segment in scanner.feed(chunk):
                await take(segment)
            if answer.is_at_end and isinstance(relay.outcome, Completed):
                return relay.outcome  # its end takes along what was taken, in one piece
            await relay.flush()
            if relay.outcome is not None:
                await self._tail(answer, scanner, relay)
                return relay.outcome
        return relay.broken(Fault("stream_incomplete", Blame.UPSTREAM, "Upstream closed stream without completion"))

    async def _tail(self, answer: UpstreamAnswer, scanner: EventScanner, relay: Relay) -> None:
        """What upstream still sends behind its last event, such as `data: [DONE]`."""
        if answer.is_at_end or not isinstance(relay.outcome, Completed) or self._context.delivery.transport == "json":
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(TAIL_S):
                while chunk := await answer.chunk():
                    for segment in scanner.feed(chunk):
                        await relay.take(segment)
                    await self._context.delivery.flush()


def readable(body: bytes, content_encoding: str, lease: Lease) -> tuple[bytes, str]:
    """The body and its encoding for an account: without the thoughts that it cannot read."""
    if not lease.foreign_anchors:
        return body, content_encoding
    plain = unpack(body, content_encoding.encode(), bytes_max=PLAIN_BYTES_MAX, too_large_status=400)
    return without(plain, lease.foreign_anchors), ""
