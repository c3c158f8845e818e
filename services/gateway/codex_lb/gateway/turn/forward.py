"""One small upstream call under a lease, such as a transcription: served like a turn, but answered whole.

The client gets nothing before the answer is read to its end, so any failure may still move to another account.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import anyio
import structlog

from codex_lb.gateway.continuity.classify import anchors_in
from codex_lb.gateway.errors import GatewayError
from codex_lb.gateway.ingress.body import ClientGoneError
from codex_lb.gateway.leasing.client import LeaseClient, LeaseRefusedError
from codex_lb.gateway.leasing.held import Holding, held
from codex_lb.gateway.leasing.lease import Timings, TurnEnd, Wanted, Work
from codex_lb.gateway.outcome import Abandoned, Blame, Broken, Completed, Failure, Fault, Rejected
from codex_lb.gateway.turn.last_word import error_of_failure, error_of_refusal
from codex_lb.gateway.turn.next_step import Budget, Step, next_step
from codex_lb.gateway.turn.turn import CLIENT_CLOSED_REQUEST, RETRY
from codex_lb.gateway.turn.watch import HangUp
from codex_lb.gateway.upstream import quota
from codex_lb.gateway.upstream.blame import judge_answer
from codex_lb.gateway.upstream.errand_headers import signed
from codex_lb.gateway.upstream.headers import RawHeader
from codex_lb.gateway.upstream.http import BrokenConnectionError, UpstreamHttp
from codex_lb.gateway.upstream.turn_state import without_foreign
from codex_lb.kit.clock import Clock

log = structlog.get_logger(__name__)
CONFLICT = 409  # of these endpoints an answer; of the Responses endpoint trouble that passes


@dataclass(frozen=True, slots=True)
class Poll:
    """Asks the same account again while its answer says that it is not done yet."""

    is_early: Callable[[bytes], bool]
    every_s: float
    within_s: float


@dataclass(frozen=True, slots=True)
class Errand:
    """What to ask of upstream, and on which terms."""

    work: Work
    method: str
    path: str  # with the query, as it shall travel
    headers: tuple[RawHeader, ...]  # those of the client's that may travel
    accept: str
    content_type: str
    body: bytes
    budget_s: float
    answer_bytes_max: int
    model: str = ""  # for leases and limits; upstream is not told
    preferred_account_id: str = ""
    is_bound: bool = False
    poll: Poll | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an errand comes from, for the request log."""

    turn_id: str
    started: float  # monotonic
    started_at: datetime
    route: str
    api_key_id: str
    user_agent: str
    client_ip: str
    session_id: str
    request_bytes: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What upstream answered, whatever its status."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes
    account_id: str
    refusal: Rejected | None = None  # when it refuses the request itself

    @property
    def outcome(self) -> Completed | Rejected:
        """What the answer is for leases and the request log."""
        return self.refusal or Completed(usage=None, response_id="", service_tier="")


class Forwards:
    """What errands are run with; one per process."""

    def __init__(self, leases: LeaseClient, upstream: UpstreamHttp, clock: Clock, *, lease_wait_s: float) -> None:
        self.leases = leases
        self.upstream = upstream
        self.clock = clock
        self.lease_wait_s = lease_wait_s

    async def run(self, errand: Errand, origin: Origin, gone: HangUp) -> Answer:
        """Runs one errand. Raises GatewayError, or ClientGoneError when nobody waits for its answer any more.

        An answer that refuses the request itself is an answer.
        """
        return await Forward(self, errand, origin).run(gone)


class Forward:
    """The state of one errand."""

    def __init__(self, forwards: Forwards, errand: Errand, origin: Origin) -> None:
        self._forwards = forwards
        self._errand = errand
        self._origin = origin
        self._clock = forwards.clock
        self._timings = Timings()
        self._interruption: Abandoned | Broken | None = None
        self._end = TurnEnd(origin.turn_id, origin.started_at, None, timings=self._timings)

    async def run(self, gone: HangUp) -> Answer:
        answer: Answer | None = None
        error: GatewayError | None = None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, gone, tasks.cancel_scope)
                try:
                    answer = await self._serve()
                except GatewayError as refused:
                    error = refused
                except Exception:
                    log.exception("a forwarded call failed unforeseen", turn_id=self._origin.turn_id)
                    self._end.outcome = Broken(Fault("internal_error", Blame.US, "The gateway failed"))
                    error = GatewayError("Internal server error")
                tasks.cancel_scope.cancel()
            if answer is None and error is None and isinstance(self._interruption, Broken):
                error = error_of_failure(self._interruption, is_pool_spent=False)
        finally:
            self._report(answer, error)
        if error is not None:
            raise error
        if answer is None:
            raise ClientGoneError
        return answer

    async def _watch(self, gone: HangUp, scope: anyio.CancelScope) -> None:
        """Ends the errand when the client hangs up or the budget is spent."""
        with anyio.move_on_after(self._errand.budget_s):
            await gone()
            self._interruption = Abandoned()
            scope.cancel()
            return
        self._interruption = Broken(Fault("upstream_request_timeout", Blame.US, "Proxy request budget exhausted"))
        scope.cancel()

    async def _serve(self) -> Answer:
        """Lease after lease until there is an answer. Raises GatewayError."""
        budget = Budget()
        excluded: dict[str, str] = {}
        failure: Failure | None = None
        while True:
            self._end.attempts += 1
            try:
                async with held(self._forwards.leases, self._wanted(excluded), self._clock) as holding:
                    told, step, budget = await self._spend(holding, budget)
            except LeaseRefusedError as refusal:
                self._end.attempts -= 1
                self._end.decision = refusal.decision
                self._end.outcome = failure
                raise error_of_refusal(refusal, failure) from refusal
            if isinstance(told, Answer):
                self._end.outcome = told.outcome
                return told
            self._end.outcome = failure = told
            if step is not Step.NEXT_ACCOUNT:
                raise error_of_failure(told, is_pool_spent=False)
            excluded[holding.lease.account_id] = told.fault.code
            budget = budget.after(step, told)

    async def _spend(self, holding: Holding, budget: Budget) -> tuple[Answer | Failure, Step, Budget]:
        """Calls upstream under one lease, again where that may help."""
        self._timings.leased_s = self._elapsed()
        self._end.lease_id, self._end.account_id = holding.lease.lease_id, holding.lease.account_id
        holding.end.timings = self._timings
        retries = 0
        while True:
            try:
                told = await self._polled(holding)
            except BaseException:
                holding.end.outcome = self._end.outcome = self._interruption or Abandoned()
                self._timings.total_s = self._elapsed()
                raise
            holding.end.outcome = told.outcome if isinstance(told, Answer) else told
            if self._errand.work is Work.FILE and isinstance(told, Answer) and told.refusal is None:
                holding.end.anchors += anchors_in(told.body)  # only this account can show the file to a model
            self._timings.total_s = self._elapsed()
            step = next_step(holding.end.outcome, is_visible=False, budget=budget)
            if step is not Step.SAME_ACCOUNT:
                return told, step, budget
            budget = budget.after(step, holding.end.outcome)
            await asyncio.sleep(RETRY.delay(retries, random.random()))  # noqa: S311 - spreads retries
            retries += 1

    async def _polled(self, holding: Holding) -> Answer | Failure:
        """One call, and more while upstream asks for patience; its last words stand when that runs out."""
        told = await self._call(holding)
        poll = self._errand.poll
        if poll is None:
            return told
        until = self._clock.monotonic() + poll.within_s
        while isinstance(told, Answer) and poll.is_early(told.body) and self._clock.monotonic() < until:
            await asyncio.sleep(poll.every_s)
            told = await self._call(holding)
        return told

    async def _call(self, holding: Holding) -> Answer | Failure:
        """One request and its answer, judged."""
        errand, lease = self._errand, holding.lease
        headers = signed(
            without_foreign(errand.headers, lease.account_id),
            access_token=lease.access_token,
            chatgpt_account_id=lease.chatgpt_account_id,
            accept=errand.accept,
            content_type=errand.content_type,
        )
        holding.calls()
        self._timings.dispatched_s = self._elapsed()
        try:
            async with self._forwards.upstream.request(
                errand.method, errand.path, headers=headers, body=errand.body
            ) as coming:
                self._timings.first_byte_s = self._elapsed()
                holding.begun()
                said = {name.lower(): value for name, value in coming.headers.items()}
                self._learn(holding, quota.read_headers(said))
                body = await coming.read(errand.answer_bytes_max + 1)
        except BrokenConnectionError as error:
            return Broken(error.fault)
        if len(body) > errand.answer_bytes_max:
            message = f"Upstream's answer is larger than {errand.answer_bytes_max} bytes"
            return Rejected(Fault("upstream_answer_too_large", Blame.UPSTREAM, message))
        return self._judged(Answer(coming.status, said, body, lease.account_id))

    def _judged(self, answer: Answer) -> Answer | Failure:
        """What is no error is an answer, also `not modified` and redirections; so is a refusal of the request itself."""
        if answer.status < 400:
            return answer
        if answer.status == CONFLICT:
            fault = Fault("conflict", Blame.CLIENT, "Upstream reports a conflict", status=CONFLICT)
            return replace(answer, refusal=Rejected(fault))
        failure = judge_answer(answer.status, answer.headers, answer.body, now=self._clock.now())
        if isinstance(failure, Rejected) and failure.fault.blame is Blame.CLIENT:
            return replace(answer, refusal=failure)
        return failure

    def _learn(self, holding: Holding, windows: tuple[quota.WindowSeen, ...]) -> None:
        if windows:
            holding.end.quota = windows
            holding.end.quota_at = self._clock.now()

    def _wanted(self, excluded: dict[str, str]) -> Wanted:
        errand = self._errand
        return Wanted(
            turn_id=self._origin.turn_id,
            attempt=self._end.attempts,
            model=errand.model,
            service_tier="",
            api_key_id=self._origin.api_key_id,
            excluded=excluded,
            wait_max_s=self._forwards.lease_wait_s,
            preferred_account_id=errand.preferred_account_id,
            is_bound=errand.is_bound,
            work=errand.work,
        )

    def _elapsed(self) -> float:
        return self._clock.monotonic() - self._origin.started

    def _report(self, answer: Answer | None, error: GatewayError | None) -> None:
        """The line of the request log, whatever happened."""
        end, origin = self._end, self._origin
        self._timings.total_s = self._elapsed()
        if answer is None and self._interruption is not None:
            end.outcome = self._interruption
        if error is not None:
            end.refusal_code, end.refusal_message = error.code, str(error)
        end.status = error.status if error else answer.status if answer else CLIENT_CLOSED_REQUEST
        end.api_key_id, end.work, end.route, end.transport = origin.api_key_id, self._errand.work, origin.route, "json"
        end.requested_model = end.model = self._errand.model
        end.user_agent, end.client_ip, end.session_id = origin.user_agent, origin.client_ip, origin.session_id
        end.request_bytes, end.response_bytes = origin.request_bytes, len(answer.body) if answer else 0
        self._forwards.leases.report(end)
