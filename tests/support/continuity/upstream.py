"""Upstream without sockets, by the simulator's rules: checks, answers, ciphertext, refusals and their words are its own.

The gateway's two ports, HTTP requests and WebSockets, are served from here. What an account does next is scripted in the
simulator's words (`limit:30`, `cut_before_output`, `failed_first:server_error`, …) and three more that need no HTTP.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from codex_lb.gateway.outcome import Blame, Fault
from codex_lb.gateway.upstream.blame import judge_answer
from codex_lb.gateway.upstream.headers import Header
from codex_lb.gateway.upstream.http import BrokenConnectionError, UpstreamAnswer
from codex_lb.gateway.upstream.websocket import ABNORMAL, Closed, HandshakeRefusedError
from codex_lb.kit.clock import Clock
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
    Step,
    Unauthorized,
    parse,
)

PACE_S = 0.05  # between events
FIRST_S = 0.2  # before the first
SCRIPT_WORDS = ("close_silent", "limit_close", "limit_event")  # besides the simulator's own


@dataclass
class SimAccount:
    """An account as upstream knows it."""

    name: str
    token: str
    limited_until: float = 0.0  # epoch seconds
    is_dead: bool = False  # its token is no longer good
    script: deque[str] = field(default_factory=deque)
    cache: tokens.PrefixCache = field(default_factory=tokens.PrefixCache)
    last_failed: float = -1e9  # by the loop's clock

    @property
    def chatgpt_account_id(self) -> str:
        """As the header names it."""
        return f"chatgpt-{self.name}"


@dataclass(eq=False)
class Call:
    """A turn that upstream answered, or refused."""

    account: str
    thread: str = ""  # the request's instructions: tests name their threads there
    answer: Answer | None = None
    is_visible: bool = False  # some output was handed over
    is_silent: bool = False  # and then nothing, for ever
    is_completed: bool = False  # its last event was handed over
    is_cut: bool = False  # somebody pulls the plug


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
        call = Call("")
        try:
            read = msgspec.json.decode(body)
            call.thread = str(read.get("instructions"))
            account = self._account(headers, call)
            step = self._step(account)
            call.answer = self.prepare(account, read, frozenset(), is_websocket=False)
            await self._before(step, account)
        except faults.RefusedError as refused:
            self._failed(call)
            fault = refused.fault
            yield FastAnswer(
                self, call, fault.status, {"content-type": fault.content_type, **fault.headers}, fault.body
            )
            return
        stream = {"content-type": "text/event-stream", "x-codex-turn-state": self._turn_state(headers, account)}
        yield FastAnswer(self, call, 200, stream, b"", self._events(call, step, account))

    async def open(self, path: str, *, headers: list[Header]) -> FastSocket:
        """The UpstreamSockets port."""
        assert path == "/codex/responses"
        call = Call("")
        try:
            account = self._account(headers, call)
            if account.script and account.script[0].startswith("handshake+"):
                await self._before(parse(account.script.popleft().removeprefix("handshake+")), account)
        except faults.RefusedError as refused:
            failure = judge_answer(refused.fault.status, {}, refused.fault.body, now=self.clock.now())
            raise HandshakeRefusedError(refused.fault.status, failure) from refused
        return FastSocket(self, account)

    def prepare(self, account: SimAccount, body: JsonObject, known: frozenset[str], *, is_websocket: bool) -> Answer:
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
            self.foreign.append(f"{ciphertext.owner_of(wrong)} at {account.name}")
            raise faults.RefusedError(faults.invalid_encrypted_content(wrong))
        if account.limited_until > self._now():
            raise faults.RefusedError(self._limit(account))
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

    def limit(self, account: SimAccount, seconds: float) -> faults.Fault:
        """The account's window is spent from now on."""
        account.limited_until = self._now() + seconds
        return self._limit(account)

    def failed(self, account: SimAccount) -> None:
        """A turn failed on it."""
        account.last_failed = self.clock.monotonic()

    def _limit(self, account: SimAccount) -> faults.Fault:
        return faults.limit(plan="plus", resets_at=int(account.limited_until) + 1, now=int(self._now()))

    def _account(self, headers: Sequence[Header], call: Call) -> SimAccount:
        given = dict(headers)
        token = given["authorization"].removeprefix("Bearer ")
        account = next((a for a in self.accounts.values() if a.token == token), None)
        call.account = account.name if account else token
        self.calls.append(call)
        if account is None or account.is_dead:
            raise faults.RefusedError(faults.unauthorized())
        owner = ciphertext.owner_of(given.get("x-codex-turn-state", ""))
        if owner is not None and owner != account.chatgpt_account_id:
            self.foreign.append(f"turn state of {owner} at {account.name}")
        return account

    def _turn_state(self, headers: Sequence[Header], account: SimAccount) -> str:
        return dict(headers).get("x-codex-turn-state") or ciphertext.seal(account.chatgpt_account_id, "state")

    def _step(self, account: SimAccount) -> str:
        return account.script.popleft() if account.script else "ok"

    async def _before(self, text: str | Step, account: SimAccount) -> None:
        """The part of a step that comes before any answer. Raises RefusedError or BrokenConnectionError."""
        step = text if isinstance(text, Step) else OK if text.split(":")[0] in SCRIPT_WORDS else parse(text)
        await asyncio.sleep(FIRST_S)
        match step.end:
            case Limit(resets_in_s=seconds):
                raise faults.RefusedError(self.limit(account, seconds))
            case RateLimited() | Unauthorized() | Deactivated() | Overloaded() | Http() | Html():
                self.failed(account)
                raise faults.RefusedError(faults.of_step(step.end, plan="plus", now=int(self._now())))
            case Refuse():
                self.failed(account)
                raise BrokenConnectionError(Fault("upstream_unavailable", Blame.UPSTREAM, "closed without an answer"))
            case HangHeaders():
                self.failed(account)
                await asyncio.sleep(1e6)
            case _:
                pass

    async def _events(self, call: Call, text: str, account: SimAccount) -> AsyncIterator[Event | Closed]:
        """The events of an answer; `Closed` where the connection ends before the answer does."""
        assert call.answer is not None
        word, _, argument = text.partition(":")
        if word == "limit_event":
            error = self.limit(account, float(argument)).error
            yield answers.event(
                "response.failed", 0, response={**call.answer.envelope, "status": "failed", "error": error}
            )
            return
        if word in ("limit_close", "close_silent"):
            if word == "limit_close":
                self.limit(account, float(argument))
                yield answers.event("codex.rate_limits", 0, **_spent(account.limited_until))
            self.failed(account)
            yield Closed(1000 if word == "limit_close" else int(argument), "simulated")
            return
        step = parse(text)
        shown = endings.playback(call.answer, step.end)  # type: ignore[arg-type]  # what comes before was dealt with
        left = shown.cut_after_bytes
        for shown_event in shown.events:
            if left is not None and left <= 0:
                break
            left = None if left is None else left - len(shown_event.data)
            await asyncio.sleep(PACE_S)
            if call.is_cut:
                self.failed(account)
                yield Closed(ABNORMAL, "cut")
                return
            if shown_event.type in ("response.failed", "error"):
                self.failed(account)
            call.is_visible = call.is_visible or "output" in shown_event.type
            call.is_completed = shown_event.type == "response.completed"
            yield shown_event
        if shown.after is After.HANG:
            self.failed(account)
            call.is_silent = True
            await asyncio.sleep(1e6)
        if shown.after is not After.END:
            self.failed(account)
            yield Closed(ABNORMAL if shown.after is After.CUT else shown.close_code, "simulated")

    def _failed(self, call: Call) -> None:
        call.answer = None

    def _now(self) -> float:
        return self.clock.now().timestamp()


@dataclass
class FastAnswer:
    """An HTTP answer."""

    upstream: FastUpstream
    call: Call
    status: int
    headers: Mapping[str, str]
    body: bytes
    events: AsyncIterator[Event | Closed] | None = None
    is_at_end: bool = False

    async def chunk(self) -> bytes:
        """One event, or what is left of the body."""
        if self.events is None:
            body, self.body, self.is_at_end = self.body, b"", True
            return body
        shown = await anext(self.events, None)
        self.is_at_end = shown is None
        if isinstance(shown, Closed):
            if shown.code == ABNORMAL:
                raise BrokenConnectionError(Fault("stream_incomplete", Blame.UPSTREAM, "broke off"))
            return b""
        return b"" if shown is None else shown.sse()

    async def read(self, bytes_max: int) -> bytes:
        """The body whole."""
        return (await self.chunk())[:bytes_max]


class FastSocket:
    """A WebSocket: turn after turn, each of which may continue the ones before."""

    def __init__(self, upstream: FastUpstream, account: SimAccount) -> None:
        self._upstream = upstream
        self._account = account
        self._known: set[str] = set()
        self._behind: dict[str, list[object]] = {}
        self._frames: asyncio.Queue[str] = asyncio.Queue()
        self._running: AsyncIterator[Event | Closed] | None = None
        self._call = Call("")
        self.headers: Mapping[str, str] = {}
        self.is_open = True

    async def send(self, frame: str) -> None:
        """Takes a frame in. Raises BrokenConnectionError."""
        if not self.is_open:
            raise BrokenConnectionError(Fault("upstream_unavailable", Blame.UPSTREAM, "the socket is closed"))
        self._frames.put_nowait(frame)

    async def receive(self) -> str | Closed:
        """The next event of the turn that runs, or of the one that comes."""
        if not self.is_open:
            return Closed(ABNORMAL, "")
        if self._running is None:
            frame = await self._frames.get()
            refusal = await self._begin(msgspec.json.decode(frame))
            if refusal is not None:
                return refusal
        assert self._running is not None
        shown = await anext(self._running, None)
        if shown is None:
            self._running = None
            return await self.receive()
        if isinstance(shown, Closed):
            self.is_open, self._running = False, None
            return shown
        if shown.type in ("response.completed", "response.incomplete", "response.failed", "error"):
            self._running = None
            if self._call.is_completed and self._call.answer is not None:
                self._known.add(self._call.answer.response_id)
        return shown.data.decode()

    async def close(self) -> None:
        """Says goodbye."""
        self.is_open = False

    async def _begin(self, body: JsonObject) -> str | Closed | None:
        upstream, account = self._upstream, self._account
        self._call = Call(account.name, str(body.get("instructions")))
        upstream.calls.append(self._call)
        text = upstream._step(account)
        try:
            self._call.answer = upstream.prepare(account, body, frozenset(self._known), is_websocket=True)
            await upstream._before(text, account)
        except faults.RefusedError as refused:
            self._call.answer = None
            fault = refused.fault
            return msgspec.json.encode({"type": "error", "status": fault.status, "error": fault.error}).decode()
        except BrokenConnectionError:
            self.is_open = False
            return Closed(ABNORMAL, "")
        self._running = upstream._events(self._call, text, account)
        return None


def _spent(until: float) -> JsonObject:
    window = {"used_percent": 100.0, "window_minutes": 300, "reset_at": int(until) + 1}
    return {
        "plan_type": "plus",
        "rate_limits": {"allowed": False, "limit_reached": True, "primary": window, "secondary": None},
    }
