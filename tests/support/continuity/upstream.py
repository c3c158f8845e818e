"""Upstream without sockets, by the simulator's rules: checks, answers, ciphertext, refusals and their words are its own.

The gateway's two ports, HTTP requests and WebSockets, are served from here. What an account does next is scripted in the
simulator's words (`limit:30`, `cut_before_output`, `failed_first:server_error`, …), in four more that need no HTTP, and
with `handshake+…` for the next WebSocket that is opened.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from codex_lb.gateway.outcome import Blame, Fault
from codex_lb.gateway.upstream.blame import judge_answer
from codex_lb.gateway.upstream.headers import Header
from codex_lb.gateway.upstream.http import BrokenConnectionError, UpstreamAnswer
from codex_lb.gateway.upstream.websocket import ABNORMAL, Closed, HandshakeRefusedError
from codex_lb.kit.clock import Clock
from tests.support.continuity.accounts import Call, Cost, History, SimAccount, speaking
from tests.support.continuity.connections import FastAnswer, FastSocket
from tests.support.simulator import answers, ciphertext, endings, faults, prompts, strictness, tokens
from tests.support.simulator.answers import Answer, Event
from tests.support.simulator.endings import After
from tests.support.simulator.prompts import JsonObject
from tests.support.simulator.steps import (
    OK,
    Deactivated,
    HangHeaders,
    Html,
    Http,
    Limit,
    Overloaded,
    RateLimited,
    Refuse,
    Unauthorized,
    parse,
)

PACE_S = 0.05  # between events
FIRST_S = 0.2  # before the first
FOR_EVER_S = 1e6
CUT_AT_END = "cut_at_end"  # after the last event
SCRIPT_WORDS = ("close_silent", "limit_close", "limit_event", CUT_AT_END)  # besides the simulator's own
HANDSHAKE = "handshake+"


@dataclass
class FastUpstream:
    """Everything upstream; UpstreamHttp and UpstreamSockets at once."""

    clock: Clock
    random: random.Random
    accounts: dict[str, SimAccount] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)  # ciphertext or turn state that reached the wrong account
    refused_bodies: list[str] = field(default_factory=list)
    input_tokens: int = 0
    cached_tokens: int = 0
    history: History | None = None
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def add(self, name: str) -> SimAccount:
        """A new account."""
        account = SimAccount(name, f"access-{name}")
        self.accounts[name] = account
        return account

    def post(self, path: str, *, headers: list[Header], body: bytes) -> AbstractAsyncContextManager[UpstreamAnswer]:
        return self.request("POST", path, headers=headers, body=body)

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, headers: list[Header], body: bytes
    ) -> AsyncIterator[UpstreamAnswer]:
        assert (method, path) == ("POST", "/codex/responses")
        try:
            account = self._account(headers)
            call = self.called(account)
            events = await self.begun(call, msgspec.json.decode(body), frozenset(), is_websocket=False)
        except faults.RefusedError as refused:
            fault = refused.fault
            headers_given = {"content-type": fault.content_type, **fault.headers}
            yield FastAnswer(fault.status, headers_given, fault.body)
            return
        call.has_begun, call.heard_at = True, self.clock.monotonic()
        stream = {"content-type": "text/event-stream", "x-codex-turn-state": self._turn_state(headers, account)}
        yield FastAnswer(200, stream, b"", events)

    async def open(self, path: str, *, headers: list[Header]) -> FastSocket:
        """The UpstreamSockets port."""
        assert path == "/codex/responses"
        try:
            account = self._account(headers)
            if account.script and account.script[0].startswith(HANDSHAKE):
                step = account.script.popleft().removeprefix(HANDSHAKE)
                call = self.called(account, step)
                await self._before(step, account, call)
        except faults.RefusedError as refused:
            failure = judge_answer(refused.fault.status, {}, refused.fault.body, now=self.clock.now())
            raise HandshakeRefusedError(refused.fault.status, failure) from refused
        return FastSocket(self, account)

    def called(self, account: SimAccount, step: str = "") -> Call:
        """A call comes in."""
        call = Call(account.name, self.clock.monotonic())
        self.calls.append(call)
        self._note(f"{call.thread} at {account.name} {step}")
        return call

    async def begun(
        self, call: Call, body: JsonObject, known: frozenset[str], *, is_websocket: bool = True
    ) -> AsyncIterator[Event | Closed]:
        """The events of the answer to a call. Raises RefusedError or BrokenConnectionError."""
        account = self.accounts[call.account]
        while account.script and account.script[0].startswith(HANDSHAKE):
            account.script.popleft()  # no socket was opened
        step = account.script.popleft() if account.script else "ok"
        self._note(f"  {call.thread} at {account.name} meets {step}, then {list(account.script)}")
        answer = self._answered(account, call, body, known, is_websocket=is_websocket)
        await self._before(step, account, call)
        call.answer = answer
        return self._events(call, answer, step, account)

    def limit(self, account: SimAccount, call: Call, seconds: float) -> faults.Fault:
        """The account's window is spent from now on."""
        account.limited_until = self._now() + seconds
        return self._limit(account, call)

    def failed(self, account: SimAccount, call: Call) -> None:
        """A call failed on it."""
        call.failed_at = account.last_failed = self.clock.monotonic()
        self._note(f"  {call.thread} was failed by {account.name}")

    def _answered(
        self, account: SimAccount, call: Call, body: JsonObject, known: frozenset[str], *, is_websocket: bool
    ) -> Answer:
        """Checks a turn and builds its answer. Raises RefusedError."""
        refused = strictness.refused(body, is_websocket=is_websocket)
        if refused is not None:
            self.refused_bodies.append(refused)
            raise faults.RefusedError(faults.detail(refused))
        previous = body.get("previous_response_id")
        if previous is not None and previous not in known:
            raise faults.RefusedError(faults.previous_response_not_found(previous))
        wrong = next(ciphertext.foreign(body, account.chatgpt_account_id), None)
        if wrong is not None:
            self._got_foreign(f"a thought of {ciphertext.owner_of(wrong)}", account, call.thread)
            raise faults.RefusedError(faults.invalid_encrypted_content(wrong))
        if account.limited_until > self._now():
            raise faults.RefusedError(self._limit(account, call))
        chain = tokens.prefixes(body)
        cost = {"input_tokens": chain[-1].tokens, "cached_tokens": account.cache.cached(chain)}
        self.input_tokens += cost["input_tokens"]
        self.cached_tokens += cost["cached_tokens"]
        return answers.build(
            body,
            prompts.read(body).wish,
            account_id=account.chatgpt_account_id,
            new_id=lambda prefix: f"{prefix}{next(self._numbers):08x}",
            now=int(self._now()),
            **cost,
        )

    def _limit(self, account: SimAccount, call: Call) -> faults.Fault:
        call.cost = Cost.LIMIT
        return faults.limit(plan="plus", resets_at=int(account.limited_until) + 1, now=int(self._now()))

    def _account(self, headers: Sequence[Header]) -> SimAccount:
        given = dict(headers)
        token = given["authorization"].removeprefix("Bearer ")
        account = next((a for a in self.accounts.values() if a.token == token), None)
        if account is None or account.is_dead:
            call = self.called(account or SimAccount(token, token), "signed out")
            call.cost = Cost.LOGIN
            raise faults.RefusedError(faults.unauthorized())
        owner = ciphertext.owner_of(given.get("x-codex-turn-state", ""))
        if owner is not None and owner != account.chatgpt_account_id:
            self._got_foreign(f"turn state of {owner}", account, speaking.get())
        return account

    def _got_foreign(self, what: str, account: SimAccount, thread: str) -> None:
        self.foreign.append(f"{what} at {account.name}, of {thread}")
        self._note(f"  {account.name} gets {what} from {thread}")

    def _turn_state(self, headers: Sequence[Header], account: SimAccount) -> str:
        return dict(headers).get("x-codex-turn-state") or ciphertext.seal(account.chatgpt_account_id, "state")

    async def _before(self, text: str, account: SimAccount, call: Call) -> None:
        """The part of a step that comes before any answer. Raises RefusedError or BrokenConnectionError."""
        step = OK if text.split(":", maxsplit=1)[0] in SCRIPT_WORDS else parse(text)
        await asyncio.sleep(FIRST_S)
        match step.end:
            case Limit(resets_in_s=seconds):
                raise faults.RefusedError(self.limit(account, call, seconds))
            case RateLimited() | Unauthorized() | Deactivated() | Overloaded() | Http() | Html():
                call.cost = Cost.LIMIT if isinstance(step.end, RateLimited) else Cost.ACCOUNT
                self.failed(account, call)
                raise faults.RefusedError(faults.of_step(step.end, plan="plus", now=int(self._now())))
            case Refuse():
                self.failed(account, call)
                raise BrokenConnectionError(Fault("upstream_unavailable", Blame.UPSTREAM, "closed without an answer"))
            case HangHeaders():
                await self._silence(account, call)
            case _:
                pass

    async def _events(
        self, call: Call, answer: Answer, text: str, account: SimAccount
    ) -> AsyncIterator[Event | Closed]:
        """The events of an answer; `Closed` where the connection ends before the answer does."""
        word, _, argument = text.partition(":")
        if word == "limit_event":
            error = self.limit(account, call, float(argument)).error
            yield answers.event("response.failed", 0, response={**answer.envelope, "status": "failed", "error": error})
            return
        if word in ("limit_close", "close_silent"):
            if word == "limit_close":
                self.limit(account, call, float(argument))
                yield answers.event("codex.rate_limits", 0, **_spent(account.limited_until))
            self.failed(account, call)
            yield Closed(1000 if word == "limit_close" else int(argument), "simulated")
            return
        step = OK if word == CUT_AT_END else parse(text)
        shown = endings.playback(answer, step.end)  # type: ignore[arg-type]  # what comes before was dealt with
        left = shown.cut_after_bytes
        for shown_event in shown.events:
            if left is not None and left <= 0:
                break
            left = None if left is None else left - len(shown_event.data)
            await asyncio.sleep(PACE_S)
            if call.is_cut:
                self.failed(account, call)
                yield Closed(ABNORMAL, "cut")
                return
            if shown_event.type in ("response.failed", "error"):
                self.failed(account, call)
            call.has_begun, call.heard_at = True, self.clock.monotonic()
            call.is_visible = call.is_visible or "output" in shown_event.type
            call.is_completed = shown_event.type == "response.completed"
            yield shown_event
        if word == CUT_AT_END:
            yield Closed(ABNORMAL, "simulated")
        if shown.after is After.HANG:
            await self._silence(account, call)
        if shown.after is not After.END:
            self.failed(account, call)
            yield Closed(ABNORMAL if shown.after is After.CUT else shown.close_code, "simulated")

    async def _silence(self, account: SimAccount, call: Call) -> None:
        """Until somebody has had enough of it."""
        self.failed(account, call)
        account.silent += 1
        try:
            await asyncio.sleep(FOR_EVER_S)
        finally:
            account.silent -= 1
            self.failed(account, call)

    def _note(self, text: str) -> None:
        if self.history is not None:
            self.history.note(text)

    def _now(self) -> float:
        return self.clock.now().timestamp()


def _spent(until: float) -> JsonObject:
    window = {"used_percent": 100.0, "window_minutes": 300, "reset_at": int(until) + 1}
    return {
        "plan_type": "plus",
        "rate_limits": {"allowed": False, "limit_reached": True, "primary": window, "secondary": None},
    }
