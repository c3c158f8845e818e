"""One turn: leased, dispatched, relayed, moved while nothing is visible, settled. The same for every transport.

    not_dispatched ──► dispatched_silent ──► visible ──► terminal
          └── may move to another lease ──┘       └── never replayed

*Visible* is anything of an answer that the client was given. What upstream says before any output (`response.created`
and its like) is held back until the first output, so that a failure right behind it can still be moved. A keep-alive
opens the stream, after which a failure has no status of its own any more, but it is nothing a client could hold us to:
the turn may still move.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import anyio
import structlog

from codex_lb.gateway.errors import GatewayError
from codex_lb.gateway.ingress.body import unpack
from codex_lb.gateway.leasing.client import LeaseRefusedError
from codex_lb.gateway.leasing.held import Holding, Leases, held
from codex_lb.gateway.leasing.lease import AnchorKind, Timings, TurnEnd, Wanted
from codex_lb.gateway.outcome import Abandoned, Blame, Broken, Completed, Failure, Fault, Outcome
from codex_lb.gateway.sessions.session import Session
from codex_lb.gateway.translate.frames import frame_of
from codex_lb.gateway.turn.attempt import PLAIN_BYTES_MAX, HttpCaller
from codex_lb.gateway.turn.context import Attempt, Caller, Delivery, TurnContext, TurnRequest
from codex_lb.gateway.turn.deadline import Deadline
from codex_lb.gateway.turn.last_word import error_of_failure, error_of_refusal
from codex_lb.gateway.turn.lost_state import is_lost, resendable, thoughts_to_forget
from codex_lb.gateway.turn.measure import TurnMetrics
from codex_lb.gateway.turn.next_step import RETRY_FIRST_S, RETRY_MAX_S, Budget, Step, next_step
from codex_lb.gateway.turn.socket_attempt import Frames, SocketCaller
from codex_lb.gateway.turn.storms import Storms
from codex_lb.gateway.turn.watch import TELL_S, HangUp, Watch
from codex_lb.gateway.upstream.http import UpstreamHttp
from codex_lb.gateway.upstream.websocket import UpstreamSockets
from codex_lb.kit.backoff import Backoff
from codex_lb.kit.clock import Clock

OUTPUT_TOKENS_ESTIMATED = 2048  # data-plane reference 6.4; most turns of agents answer with less
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that hung up; only ever seen in the log
log = structlog.get_logger(__name__)

RETRY = Backoff(first_s=RETRY_FIRST_S, max_s=RETRY_MAX_S)


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """Seconds and bytes a turn may take."""

    budget_s: float
    idle_s: float
    keepalive_s: float
    lease_wait_s: float
    event_bytes_max: int


class Turns:
    """What turns are made with; one per process."""

    def __init__(
        self,
        leases: Leases,
        upstream: UpstreamHttp,
        sockets: UpstreamSockets,
        clock: Clock,
        limits: TurnLimits,
        metrics: TurnMetrics,
        *,
        wants_sockets: Callable[[], bool],
    ) -> None:
        self.sockets = sockets
        self.wants_sockets = wants_sockets
        self.metrics = metrics
        self.leases = leases
        self.upstream = upstream
        self.clock = clock
        self.limits = limits
        self.storms = Storms()
        self.running = 0

    async def run(
        self, request: TurnRequest, delivery: Delivery, gone: HangUp, caller: Caller | None = None
    ) -> Completed | None:
        """Serves one turn; how it completed, if it did. Raises GatewayError when a status must say that it did not.

        `gone` returns when the client hangs up; `caller` says how to speak to upstream, by requests unless told.
        """
        self.running += 1
        session = Session(self.sockets, self.clock) if caller is None and self.wants_sockets() else None
        if session is not None:
            caller = self.by_socket(request, session)
        turn = Turn(self, request, delivery, caller or self.by_request(request))
        try:
            error = await turn.run(gone)
        finally:
            self.running -= 1
            if session is not None:
                await session.drop()
        if error is not None:
            raise error
        return turn.completed

    def by_socket(self, request: TurnRequest, session: Session) -> Caller:
        """Speaks to upstream over a socket that lives as long as the turn; drawn images are too large for one."""
        plain = unpack(request.body, request.content_encoding.encode(), bytes_max=PLAIN_BYTES_MAX, too_large_status=400)
        if b'"image_generation"' in plain:
            return self.by_request(request)
        frames = Frames(frame_of(plain), request.body, is_continuation=False)
        return SocketCaller(session, self.upstream, frames, event_bytes_max=self.limits.event_bytes_max)

    def by_request(self, request: TurnRequest) -> HttpCaller:
        """Speaks to upstream by HTTP requests."""
        return HttpCaller(self.upstream, request.headers, event_bytes_max=self.limits.event_bytes_max)


class Turn:
    """The state of one turn."""

    def __init__(self, turns: Turns, request: TurnRequest, delivery: Delivery, caller: Caller) -> None:
        self._turns = turns
        self._caller = caller
        self._request = request
        self._delivery = delivery
        self._clock = turns.clock
        limits = turns.limits
        self._deadline = Deadline(self._clock.monotonic(), limits.budget_s, limits.idle_s, limits.keepalive_s)
        self._timings = Timings()
        self._context = TurnContext(request, delivery, self._deadline, self._timings, turns.clock)
        self._watch = Watch(request.turn_id, delivery, self._deadline, turns.clock)
        self._end = TurnEnd(request.turn_id, request.started_at, None, timings=self._timings)

    @property
    def completed(self) -> Completed | None:
        """How it completed, if it did."""
        return self._end.outcome if isinstance(self._end.outcome, Completed) else None

    async def run(self, gone: HangUp) -> GatewayError | None:
        """Serves it, watching the client and the clock meanwhile; the error, if nothing of it was sent."""
        error: GatewayError | None = None
        try:
            error = await self._watch.over(self._serve_or_explain(), gone)
            if isinstance(self._watch.interruption, Broken):
                error = await self._tell(error_of_failure(self._watch.interruption, is_pool_spent=False))
        finally:
            self._report(error)
        return error

    async def _serve_or_explain(self) -> GatewayError | None:
        try:
            return await self._serve()
        except GatewayError as error:
            return await self._tell(error)
        except Exception:
            log.exception("a turn failed unforeseen", turn_id=self._request.turn_id)
            self._end.outcome = Broken(Fault("internal_error", Blame.US, "The gateway failed"))
            return await self._tell(GatewayError("Internal server error"))

    async def _serve(self) -> GatewayError | None:
        """Lease after lease until the turn has an answer or its budget is spent."""
        budget = Budget()
        excluded: dict[str, str] = {}
        failure: Failure | None = None
        while True:
            self._end.attempts += 1
            try:
                async with held(self._turns.leases, self._wanted(excluded), self._clock) as holding:
                    outcome, step, attempt, budget = await self._spend(holding, budget)
            except LeaseRefusedError as refusal:
                self._end.attempts -= 1
                self._end.decision = refusal.decision
                self._end.outcome = failure
                return await self._tell(error_of_refusal(refusal, failure))
            self._end.outcome = outcome
            if isinstance(outcome, Completed):
                await self._delivery.end()
                return None
            if isinstance(outcome, Abandoned):
                return None
            failure = outcome
            if step is Step.NEXT_ACCOUNT:
                excluded[holding.lease.account_id] = outcome.fault.code
                budget = budget.after(step, outcome)
                self._delivery.begin([], "")  # nothing of the account that was left concerns the client
                continue
            if attempt.has_told_failure:
                await self._delivery.end()
                return None
            is_to_pass_on = outcome.fault.blame is Blame.CLIENT and not self._starts_over(outcome)
            if is_to_pass_on and await self._delivery.pass_on(attempt.withheld):
                return None
            return await self._tell(error_of_failure(outcome, is_pool_spent=False))

    async def _spend(self, holding: Holding, budget: Budget) -> tuple[Outcome, Step, Attempt, Budget]:
        """Calls upstream under one lease, again where that may help; how it ended and what is to come next."""
        self._timings.leased_s = self._context.elapsed()
        self._end.lease_id, self._end.account_id = holding.lease.lease_id, holding.lease.account_id
        holding.end.timings = self._timings
        holding.end.failure_keys = self._request.continuity.failure_keys
        retries = 0
        while True:
            attempt = self._caller.attempt(self._context)
            try:
                outcome = await self._watch.attempt(attempt, holding)
            except BaseException:
                # Codex leaves as soon as it has the last event: what was answered by then is an answer.
                self._end.outcome = attempt.outcome or self._watch.interruption or Abandoned()
                holding.end.outcome = self._end.outcome
                holding.end.silent_s = self._context.silent_s()
                self._timings.total_s = self._context.elapsed()
                raise
            if is_lost(outcome) and not self._delivery.is_visible:
                thoughts = thoughts_to_forget(outcome, self._request.continuity.anchors, holding.lease.foreign_anchors)
                if thoughts is not None:  # once: the turn goes again without any
                    holding.lease = replace(holding.lease, foreign_anchors=holding.lease.foreign_anchors | thoughts)
                    continue
                outcome = self._resendable(outcome)
            account_id, now = holding.lease.account_id, self._clock.monotonic()
            outcome = self._turns.storms.judged(outcome, account_id, now=now)
            holding.end.outcome = outcome
            if isinstance(outcome, Completed):
                # It could read them, whoever was thought to own them: from now on that is known.
                anchors = self._request.continuity.anchors
                holding.end.anchors += tuple(a for a in anchors if a.kind is AnchorKind.COMPACTION)
            self._timings.total_s = self._context.elapsed()
            step = next_step(
                outcome,
                is_visible=self._delivery.is_visible,
                budget=budget,
                is_storm=self._turns.storms.is_storm(outcome, now=now),
            )
            if step is not Step.SAME_ACCOUNT:
                return outcome, step, attempt, budget
            budget = budget.after(step, outcome)
            await asyncio.sleep(RETRY.delay(retries, random.random()))  # noqa: S311 - spreads retries
            retries += 1

    def _starts_over(self, outcome: Outcome) -> bool:
        """Whether the client is told to, in words of its delivery: what it continues is lost."""
        return is_lost(outcome) and self._caller.wish().is_bound

    def _resendable(self, outcome: Outcome) -> Outcome:
        request = self._request
        if self._caller.wish().is_bound:
            return outcome
        plain = unpack(request.body, request.content_encoding.encode(), bytes_max=PLAIN_BYTES_MAX, too_large_status=400)
        return resendable(outcome, plain, request.continuity.anchors)

    def _wanted(self, excluded: dict[str, str]) -> Wanted:
        wish = self._caller.wish()
        return Wanted(
            turn_id=self._request.turn_id,
            attempt=self._end.attempts,
            model=self._request.model,
            service_tier=self._request.service_tier,
            api_key_id=self._request.api_key_id,
            excluded=excluded,
            wait_max_s=self._turns.limits.lease_wait_s,
            input_tokens=self._request.input_tokens_max,
            output_tokens=OUTPUT_TOKENS_ESTIMATED,
            preferred_account_id=wish.account_id,
            is_bound=wish.is_bound,
            anchors=self._request.continuity.anchors,
            affinity_keys=self._request.continuity.affinity_keys,
        )

    async def _tell(self, error: GatewayError) -> GatewayError | None:
        """The error itself when the client must be told by a status."""
        with anyio.move_on_after(TELL_S):
            return None if await self._delivery.fail(error) else error
        return None  # the client does not read; there is nobody to tell

    def _report(self, error: GatewayError | None) -> None:
        """The line of the request log, whatever happened."""
        end, request, delivery = self._end, self._request, self._delivery
        if self._watch.interruption is not None and not isinstance(end.outcome, Completed):
            end.outcome = self._watch.interruption
        self._timings.total_s = self._context.elapsed()
        if isinstance(end.outcome, Completed):
            end.usage = end.outcome.usage
            end.response_id = end.outcome.response_id
            end.actual_service_tier = end.outcome.service_tier
        if error is not None:
            end.refusal_code, end.refusal_message = error.code, str(error)
        end.status = error.status if error is not None else delivery.status or CLIENT_CLOSED_REQUEST
        end.api_key_id = request.api_key_id
        end.route, end.transport = request.route, delivery.transport
        end.requested_model, end.model = request.requested_model, request.model
        end.reasoning_effort, end.service_tier = request.reasoning_effort, request.service_tier
        end.user_agent, end.client_ip, end.session_id = request.user_agent, request.client_ip, request.session_id
        end.request_bytes, end.response_bytes = request.request_bytes, delivery.bytes_sent
        if end.transport != "websocket":  # whose line was written when it connected
            log.info("POST %s %d", end.route, end.status, turn_id=end.turn_id, account_id=end.account_id)
        self._turns.leases.report(end)
        self._turns.metrics.observe(end)
