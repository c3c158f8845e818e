"""One upstream call under a lease: sent, judged, relayed to the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from codex_lb.gateway.leasing.held import Holding
from codex_lb.gateway.leasing.lease import Timings
from codex_lb.gateway.outcome import Blame, Broken, Completed, Fault, Outcome
from codex_lb.gateway.turn.deadline import Deadline
from codex_lb.gateway.turn.meter import read_error_event, read_terminal
from codex_lb.gateway.turn.sse import EventScanner, EventTooLargeError, Kind, Segment, data_of
from codex_lb.gateway.upstream import quota
from codex_lb.gateway.upstream.blame import judge_answer, judge_event
from codex_lb.gateway.upstream.headers import upstream_headers
from codex_lb.gateway.upstream.http import BrokenConnectionError, UpstreamAnswer, UpstreamHttp
from codex_lb.kit.clock import Clock

if TYPE_CHECKING:
    from codex_lb.gateway.turn.turn import Delivery, TurnRequest

RESPONSES_PATH = "/codex/responses"
ERROR_BODY_BYTES_MAX = 64 * 2**10  # upstream's errors are a few hundred bytes; a challenge page is some thousands
WITHHELD_MAX = 64  # events held back before the first output; upstream sends two or three
TAIL_S = 2.0  # for what may follow the last event; the client has its answer already

NOT_OUTPUT = frozenset({Kind.PRELUDE, Kind.COMMENT, Kind.RATE_LIMITS, Kind.PRIVATE})


@dataclass(frozen=True, slots=True)
class Dispatch:
    """What is sent."""

    request: TurnRequest
    timings: Timings
    event_bytes_max: int


class Attempt:
    """The state of one call."""

    def __init__(
        self, dispatch: Dispatch, upstream: UpstreamHttp, delivery: Delivery, deadline: Deadline, clock: Clock
    ) -> None:
        self._dispatch = dispatch
        self._upstream = upstream
        self._delivery = delivery
        self._deadline = deadline
        self._clock = clock
        self.outcome: Outcome | None = None  # known as soon as upstream has said how it ends
        self._has_output = False
        self.withheld: list[Segment] = []

    async def run(self, holding: Holding) -> Outcome:
        """Calls upstream and relays its answer; every way in which that can end is an outcome."""
        request, timings = self._dispatch.request, self._dispatch.timings
        lease = holding.lease
        headers = upstream_headers(
            request.headers,
            access_token=lease.access_token,
            chatgpt_account_id=lease.chatgpt_account_id,
            accept="text/event-stream",
            content_encoding=request.content_encoding,
            request_id=request.turn_id,
        )
        holding.end.calls += 1
        timings.dispatched_s = self._elapsed()
        try:
            async with self._upstream.post(RESPONSES_PATH, headers=headers, body=request.body) as answer:
                timings.first_byte_s = self._elapsed()
                self._deadline.heard = self._clock.monotonic()
                self._learn(holding, quota.read_headers(answer.headers))
                if answer.status != 200:
                    body = await answer.read(ERROR_BODY_BYTES_MAX)
                    return judge_answer(answer.status, lowered(answer.headers), body, now=self._clock.now())
                self._delivery.begin(list(answer.headers.items()))
                return await self._relay(answer, holding)
        except BrokenConnectionError as error:
            return self.outcome or Broken(error.fault)
        except EventTooLargeError:
            message = f"An upstream event is larger than {self._dispatch.event_bytes_max} bytes"
            return self.outcome or Broken(Fault("stream_event_too_large", Blame.US, message))

    async def _relay(self, answer: UpstreamAnswer, holding: Holding) -> Outcome:
        """Passes events on until upstream has said how it ends."""
        scanner = EventScanner(event_bytes_max=self._dispatch.event_bytes_max)
        deadline, monotonic = self._deadline, self._clock.monotonic
        while chunk := await answer.chunk():
            deadline.heard = monotonic()
            for segment in scanner.feed(chunk):
                if segment.kind is Kind.ORDINARY and self._has_output:
                    await self._delivery.take(segment)
                else:
                    await self._consider(segment, holding)
                deadline.told = deadline.heard
            if self.outcome is not None:
                await self._tail(answer, scanner)
                return self.outcome
        return Broken(Fault("stream_incomplete", Blame.UPSTREAM, "Upstream closed stream without completion"))

    async def _tail(self, answer: UpstreamAnswer, scanner: EventScanner) -> None:
        """What upstream still sends behind its last event, such as `data: [DONE]`."""
        if not isinstance(self.outcome, Completed):
            return
        with anyio.move_on_after(TAIL_S):
            while chunk := await answer.chunk():
                for segment in scanner.feed(chunk):
                    await self._delivery.take(segment)

    async def _consider(self, segment: Segment, holding: Holding) -> None:
        """An event that means something to the turn, or the first that carries output."""
        kind = segment.kind
        if kind is Kind.RATE_LIMITS:
            self._learn(holding, quota.read_event(data_of(segment.raw)))
        if kind in (Kind.FAILED, Kind.ERROR):
            await self._failed(segment)
            return
        if kind in NOT_OUTPUT and not self._has_output and len(self.withheld) < WITHHELD_MAX:
            self.withheld.append(segment)
            return
        await self._show(segment)
        if kind in (Kind.COMPLETED, Kind.INCOMPLETE):
            finished = read_terminal(data_of(segment.raw))
            self.outcome = Completed(finished.usage, finished.response_id, finished.service_tier)

    async def _failed(self, segment: Segment) -> None:
        """Upstream's own failure: shown if the client holds a part of the answer already, else kept for the turn."""
        data = data_of(segment.raw)
        error = read_terminal(data).error if segment.kind is Kind.FAILED else read_error_event(data)
        self.outcome = judge_event(error, now=self._clock.now())
        if self._delivery.is_visible:
            await self._delivery.take(segment)
        else:
            self.withheld.append(segment)

    async def _show(self, segment: Segment) -> None:
        if not self._has_output:
            self._has_output = True
            self._dispatch.timings.first_output_s = self._elapsed()
            for held_back in self.withheld:
                await self._delivery.take(held_back)
            self.withheld = []
        await self._delivery.take(segment)

    def _learn(self, holding: Holding, windows: tuple[quota.WindowSeen, ...]) -> None:
        if windows:
            holding.end.quota = windows
            holding.end.quota_at = self._clock.now()

    def _elapsed(self) -> float:
        return self._clock.monotonic() - self._dispatch.request.started


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """Header names in lower case."""
    return {name.lower(): value for name, value in headers.items()}
