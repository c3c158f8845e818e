"""The upstream simulator as tests see it: start it, make accounts, script them, look at what it saw.

async with start_upstream() as upstream:
    account = await upstream.add_account("a")
    await upstream.script("a", limit(resets_in_s=30), then=ok())
    …
    turn = await upstream.turn(account="a")
    assert await upstream.violations() == []
"""

import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NewType, TypeVar

import anyio
import anyio.abc
import httpx
import msgspec

from tests.support.simulator.record import Counters, Credits, Kind, Login, Row, Tally, Violation, Window

__all__ = [
    "ANY", "Counters", "Credits", "Seen", "SimAccount", "Step", "Tally", "Turn", "Upstream", "UpstreamError", "Violation",
    "Window", "close", "combined", "cut_after", "cut_before_output", "deactivated", "eof", "error", "error_first", "failed",
    "failed_first", "garbage", "hang", "hang_headers", "hold", "hold_headers", "html", "http", "incomplete", "late",
    "limit", "ok", "overloaded", "rate_limited", "refuse", "shred", "slow", "start_upstream", "strange", "unauthorized",
]  # fmt: skip

Step = NewType("Step", str)
Turn = Row

ANY: Final = "*"  # any account, or any kind of request
START_WITHIN_S: Final = 15.0  # a cold interpreter on a busy machine
STOP_WITHIN_S: Final = 3.0
WITHIN_S: Final = 10.0  # how long a test waits for something that should happen at once

_ROOT: Final = Path(__file__).resolve().parents[2]
_SLICE_S: Final = 5.0  # one long poll

_NOTHING: Final = dict[str, object]  # the answer of calls that only do something

T = TypeVar("T")


class UpstreamError(AssertionError):
    """The simulator did not do, or did not see, what the test expects."""


@dataclass(frozen=True, slots=True)
class SimAccount:
    """An account with a login to it."""

    name: str
    account_id: str
    user_id: str
    email: str
    plan: str
    id_token: str
    access_token: str
    refresh_token: str
    auth_json: bytes  # what an operator imports


@dataclass(frozen=True, slots=True)
class Seen:
    """What a ``wait_for`` predicate looks at."""

    counters: Counters
    turns: Sequence[Turn]

    @property
    def held(self) -> int:
        """How many streams wait at the gate."""
        return self.counters.total.held

    @property
    def open(self) -> int:
        """How many turns run."""
        return self.counters.total.open

    def of(self, account: str) -> Tally:
        """The counters of one account."""
        return self.counters.accounts.get(account, Tally())


@asynccontextmanager
async def start_upstream(*, port: int = 0) -> AsyncIterator["Upstream"]:
    """The simulator as a process of its own on a free port; it ends with the block, or with us."""
    command = [sys.executable, "-m", "tests.support.simulator", "--port", str(port), "--with-parent"]
    async with await anyio.open_process(command, cwd=_ROOT, stderr=sys.stderr, env=dict(os.environ)) as process:
        try:
            with anyio.fail_after(START_WITHIN_S):
                announced = await _announced(process)
            async with httpx.AsyncClient(
                base_url=announced.base_url, trust_env=False, timeout=_SLICE_S + WITHIN_S
            ) as client:
                yield Upstream(announced.base_url, announced.pid, client)
        finally:
            with anyio.CancelScope(shield=True):
                await _stop(process)


class Upstream:
    """A running simulator."""

    def __init__(self, base_url: str, pid: int, client: httpx.AsyncClient) -> None:
        self.base_url = base_url
        self.pid = pid
        self._client = client

    @property
    def chatgpt_url(self) -> str:
        """What the product calls the upstream base URL."""
        return f"{self.base_url}/backend-api"

    @property
    def auth_url(self) -> str:
        """What the product calls the issuer's base URL."""
        return self.base_url

    async def add_account(
        self,
        name: str,
        *,
        plan: Literal["plus", "pro", "team", "business", "enterprise", "edu", "go", "free", "weekly"] = "plus",
        account_id: str | None = None,
        email: str | None = None,
        access_ttl_s: float | None = None,
        sends_rate_limit_events: bool = False,
    ) -> SimAccount:
        """A new account with a login; the same name again is a second login to the same account.

        ``weekly`` is a plus account that reports only a weekly window, in the primary slot.
        """
        login = await self._post(
            "accounts",
            Login,
            name=name,
            plan=plan,
            account_id=account_id,
            email=email,
            access_ttl_s=access_ttl_s,
            sends_rate_limit_events=sends_rate_limit_events,
        )
        return SimAccount(
            name=login.name,
            account_id=login.account_id,
            user_id=login.user_id,
            email=login.email,
            plan=login.plan,
            id_token=login.id_token,
            access_token=login.access_token,
            refresh_token=login.refresh_token,
            auth_json=msgspec.json.encode(login.auth_json),
        )

    async def script(
        self, account: str, *steps: Step, then: Step | None = None, kind: Kind | Literal["*"] = "responses"
    ) -> None:
        """Replaces what the account does with the next requests of this kind; without ``then`` it answers well again.

        Kinds: responses, warmup, handshake, models, usage, token, transcribe, files, codex_control, or ANY. The account
        may be ANY: its steps are played by whichever account has none of its own.
        """
        await self._post("script", _NOTHING, account=account, steps=steps, then=then, kind=kind)

    async def set_usage(
        self,
        account: str,
        *,
        primary: Window | msgspec.UnsetType | None = msgspec.UNSET,
        secondary: Window | msgspec.UnsetType | None = msgspec.UNSET,
        plan: str | None = None,
        credits: Credits | None = None,  # noqa: A002 - upstream's word
        is_enforced: bool | None = None,
    ) -> None:
        """What is not given stays. A full window refuses turns with ``limit`` unless ``is_enforced`` is False."""
        given = {"primary": primary, "secondary": secondary}
        windows = {name: window for name, window in given.items() if window is not msgspec.UNSET}
        await self._post(
            "usage", _NOTHING, account=account, plan=plan, credits=credits, is_enforced=is_enforced, **windows
        )

    async def set_models(self, account: str, *models: str | dict[str, Any]) -> None:
        """Offers the account exactly these: slugs, or whole entries."""
        await self._post("models", _NOTHING, account=account, models=models)

    async def expire_access(self, account: str) -> None:
        """Every access token of the account stops working; its refresh tokens stay good."""
        await self._post("expire", _NOTHING, account=account)

    async def revoke(self, account: str) -> None:
        """Every token of the account stops working."""
        await self._post("revoke", _NOTHING, account=account)

    async def at_the_browser(self, account: str, *, consents: bool = True) -> None:
        """Who consents, or declines, when somebody opens /oauth/authorize; otherwise the newest account consents."""
        await self._post("browser", _NOTHING, account=account, consents=consents)

    async def expire_codes(self) -> None:
        """Every authorization code that was not exchanged yet stops working."""
        await self._post("expire_codes", _NOTHING)

    async def approve_device(self, account: str, user_code: str) -> None:
        """Somebody signed in as this account types the code that a device shows."""
        await self._post("approve", _NOTHING, account=account, user_code=user_code)

    async def release(self, account: str | None = None, *, streams_max: int | None = None) -> int:
        """Lets held streams go on, oldest first; returns how many. Those that come later are held anew."""
        return (await self._post("release", dict[str, int], account=account, streams_max=streams_max))["released"]

    async def cut(self, account: str | None = None) -> int:
        """Closes every connection that carries an answer, idle WebSockets too; returns how many answers that ended."""
        return (await self._post("cut", dict[str, int], account=account))["cut"]

    async def reset(self, *, accounts: bool = False) -> None:
        """Scripts, log, counters and violations go, held streams go on; accounts and tokens go when asked."""
        await self._post("reset", _NOTHING, accounts=accounts)

    async def keep_bytes(self, *, keep: bool) -> None:
        """A load test need not keep bodies and answers."""
        await self._post("keep", _NOTHING, bytes=keep)

    async def log(self, *kinds: Kind, since: int = 0) -> list[Row]:
        """Every request of these kinds, or of all, oldest first."""
        return await self._get("log", list[Row], since=since, kind=kinds)

    async def turns(self, *, account: str | None = None, since: int = 0) -> list[Turn]:
        """The turns, over HTTP and WebSocket, warm-ups not counted."""
        rows = await self.log("responses", since=since)
        return [row for row in rows if account in (None, row.account)]

    async def turn(self, *, account: str | None = None) -> Turn:
        """The only turn there was."""
        turns = await self.turns(account=account)
        if len(turns) != 1:
            raise UpstreamError(f"expected one turn, saw {[(turn.account, turn.step) for turn in turns]}")
        return turns[0]

    async def violations(self) -> list[Violation]:
        """What a proxy must never do, and did."""
        return await self._get("violations", list[Violation])

    async def counters(self) -> Counters:
        """All counters."""
        return await self._get("counters", Counters)

    async def tally(self, account: str) -> Tally:
        """The counters of one account."""
        return (await self.counters()).accounts.get(account, Tally())

    async def wait_for(self, predicate: Callable[[Seen], bool], *, within_s: float = WITHIN_S) -> Seen:
        """Returns once the predicate holds; looks again whenever something changed. Raises UpstreamError."""
        deadline = anyio.current_time() + within_s
        seen = await self._seen(await self.counters())
        while not predicate(seen):
            left = deadline - anyio.current_time()
            if left <= 0:
                raise UpstreamError(f"not within {within_s} s; counters: {seen.counters}")
            after, slice_s = seen.counters.version, min(left, _SLICE_S)
            seen = await self._seen(await self._get("changes", Counters, after=after, within_s=slice_s))
        return seen

    async def wait_for_counters(self, predicate: Callable[[Counters], bool], *, within_s: float = WITHIN_S) -> Counters:
        """As ``wait_for``, without reading the log: for tests with thousands of turns. Raises UpstreamError."""
        deadline = anyio.current_time() + within_s
        counters = await self.counters()
        while not predicate(counters):
            left = deadline - anyio.current_time()
            if left <= 0:
                raise UpstreamError(f"not within {within_s} s; counters: {counters}")
            counters = await self._get("changes", Counters, after=counters.version, within_s=min(left, _SLICE_S))
        return counters

    async def _seen(self, counters: Counters) -> Seen:
        return Seen(counters, await self.turns())

    async def _get(self, path: str, wanted: type[T], **query: Any) -> T:
        answer = await self._client.get(f"/__sim/{path}", params=query)
        return _read(answer, wanted)

    async def _post(self, path: str, wanted: type[T], **body: object) -> T:
        answer = await self._client.post(f"/__sim/{path}", content=msgspec.json.encode(body))
        return _read(answer, wanted)


def ok() -> Step:
    """A whole, good answer."""
    return Step("ok")


def limit(*, resets_in_s: int = 3600) -> Step:
    """429 usage_limit_reached with resets_at, plan_type and the usage headers at 100 %."""
    return Step(f"limit:{resets_in_s}")


def rate_limited(*, retry_after_s: int = 2) -> Step:
    """429 rate_limit_exceeded with retry-after."""
    return Step(f"rate_limited:{retry_after_s}")


def unauthorized() -> Step:
    """401 token_expired."""
    return Step("unauthorized")


def deactivated() -> Step:
    """401 account_deactivated."""
    return Step("deactivated")


def overloaded() -> Step:
    """503 server_is_overloaded."""
    return Step("overloaded")


def http(status: int, code: str = "simulated_error") -> Step:
    """Any status, with an error in JSON."""
    return Step(f"http:{status}:{code}")


def html(status: int) -> Step:
    """Any status, with the CDN's page."""
    return Step(f"html:{status}")


def refuse() -> Step:
    """The connection closes before any header."""
    return Step("refuse")


def failed(code: str) -> Step:
    """response.failed after created and in_progress."""
    return Step(f"failed:{code}")


def failed_first(code: str) -> Step:
    """response.failed as the very first event."""
    return Step(f"failed_first:{code}")


def error(code: str) -> Step:
    """A top-level error event after created and in_progress."""
    return Step(f"error:{code}")


def error_first(code: str) -> Step:
    """A top-level error event as the very first event."""
    return Step(f"error_first:{code}")


def incomplete(reason: str = "max_output_tokens") -> Step:
    """response.incomplete instead of completed."""
    return Step(f"incomplete:{reason}")


def cut_after(body_bytes: int) -> Step:
    """The connection closes after so many bytes of the body; over a WebSocket after the last whole frame."""
    return Step(f"cut_after:{body_bytes}")


def cut_before_output() -> Step:
    """The connection closes after created and in_progress."""
    return Step("cut_before_output")


def eof() -> Step:
    """A clean end without a terminal event; over a WebSocket a close frame (1000)."""
    return Step("eof")


def close(code: int) -> Step:
    """WebSocket: a close frame with this code after the first delta."""
    return Step(f"close:{code}")


def hang() -> Step:
    """Headers, then silence."""
    return Step("hang")


def hang_headers() -> Step:
    """Nothing at all."""
    return Step("hang_headers")


def garbage() -> Step:
    """An event that is no JSON before the terminal one."""
    return Step("garbage")


def strange() -> Step:
    """A comment, and an event of an unknown type, in a good answer."""
    return Step("strange")


def hold() -> Step:
    """The first delta, then nothing until released."""
    return Step("hold")


def hold_headers() -> Step:
    """Nothing until released."""
    return Step("hold_headers")


def slow(between_events_s: float) -> Step:
    """A pause between events."""
    return Step(f"slow:{between_events_s}")


def late(before_headers_s: float) -> Step:
    """A pause before anything."""
    return Step(f"late:{before_headers_s}")


def shred(write_bytes: int) -> Step:
    """The body in writes of so many bytes, wherever events begin and end."""
    return Step(f"shred:{write_bytes}")


def combined(*steps: Step) -> Step:
    """Paces and one end together: ``combined(late(1), hold(), eof())``."""
    return Step("+".join(steps))


class _Announced(msgspec.Struct):
    base_url: str
    pid: int


async def _announced(process: anyio.abc.Process) -> _Announced:
    """The line that the simulator writes once it listens."""
    line = b""
    while not line.endswith(b"\n"):
        try:
            line += await _pipe(process.stdout).receive()
        except anyio.EndOfStream:
            raise UpstreamError(f"the simulator ended at once, with {await process.wait()}") from None
    return msgspec.json.decode(line, type=_Announced)


def _pipe(stream: anyio.abc.ByteReceiveStream | None) -> anyio.abc.ByteReceiveStream:
    if stream is None:
        raise UpstreamError("the simulator has no stdout")
    return stream


async def _stop(process: anyio.abc.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    with anyio.move_on_after(STOP_WITHIN_S):
        await process.wait()
        return
    process.kill()
    await process.wait()


def _read(answer: httpx.Response, wanted: type[T]) -> T:
    if answer.status_code != 200:
        raise UpstreamError(f"{answer.request.url.path}: {answer.text}")
    return msgspec.json.decode(answer.content, type=wanted)
