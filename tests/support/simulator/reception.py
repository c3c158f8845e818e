"""The reception: writes every request down, checks who asks, and plays what is scripted for short answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from tests.support.simulator import faults, strictness
from tests.support.simulator.accounts import Account, Accounts, step_of
from tests.support.simulator.bodies import unpack
from tests.support.simulator.gate import Gate
from tests.support.simulator.journal import Journal, Recording
from tests.support.simulator.lines import Lines
from tests.support.simulator.oauth import Issuer
from tests.support.simulator.record import Kind
from tests.support.simulator.steps import (
    Deactivated,
    HangHeaders,
    Html,
    Http,
    Limit,
    Overloaded,
    RateLimited,
    Refusal,
    Refuse,
    Step,
    Stream,
    Unauthorized,
)

HANG_S_MAX: Final = 600.0  # silence outlives every timeout of ours, but not a test run

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RecordedHandler = Callable[[web.Request, Recording], Awaitable[web.StreamResponse]]


class ConnectionCutError(Exception):
    """The step wants the connection gone, without another byte."""


class Reception:
    """What every endpoint does before its own work."""

    def __init__(self, accounts: Accounts, issuer: Issuer, journal: Journal, gate: Gate, lines: Lines) -> None:
        self._accounts = accounts
        self._issuer = issuer
        self._journal = journal
        self._gate = gate
        self.lines = lines

    def recorded(self, kind: Kind, handler: RecordedHandler) -> Handler:
        """The handler, with its request, its refusals and its end in the journal."""

        async def handle(request: web.Request) -> web.StreamResponse:
            recording = self._journal.open(
                kind,
                connection_of(request),
                method=request.method,
                path=request.path,
                query=request.query_string,
                headers=request.raw_headers,
            )
            try:
                with self.lines.carrying(request, recording):
                    self._check_headers(request, recording)
                    response = await handler(request, recording)
            except faults.RefusedError as refused:
                return refuse(recording, refused.fault)
            except ConnectionCutError:
                recording.end("cut")
                return cut(request)
            except (asyncio.CancelledError, ConnectionError):
                recording.end("client_gone")
                raise
            recording.status = response.status
            recording.end("complete")
            return response

        return handle

    async def body(self, request: web.Request, recording: Recording) -> bytes:
        """The body, unpacked and written down. Raises RefusedError."""
        raw = await request.read()
        recording.body = unpack(raw, request.headers.get("content-encoding", ""))
        return recording.body

    def account(self, request: web.Request, recording: Recording) -> Account:
        """Whose token this is. Raises RefusedError."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        account = self._issuer.account_of(token) if scheme.lower() == "bearer" else None
        if account is None:
            raise faults.RefusedError(faults.unauthorized())
        recording.account = account.name
        named = request.headers.get("chatgpt-account-id")
        if named is not None and named != account.account_id:
            recording.violates("account_mismatch", f"the token is {account.account_id}'s, the header says {named}")
            raise faults.RefusedError(faults.unauthorized("account_mismatch"))
        return account

    def step(self, recording: Recording, account: Account | None) -> Step:
        """What is scripted for this request; taken from the script."""
        recording.step = self._accounts.take_step(account, recording.kind)
        return step_of(recording.step)

    async def play(self, step: Step, account: Account | None) -> Stream:
        """The part of a step that comes before any answer. Raises RefusedError or ConnectionCutError."""
        end = step.end
        name = account.name if account else ""
        if step.late_s:
            await asyncio.sleep(step.late_s)
        if step.is_held_before_headers:
            await self._gate.wait(name)
        match end:
            case Refuse():
                raise ConnectionCutError
            case HangHeaders():
                await asyncio.sleep(HANG_S_MAX)
                raise ConnectionCutError
            case Limit() | RateLimited() | Unauthorized() | Deactivated() | Overloaded() | Http() | Html():
                raise faults.RefusedError(_fault(end, account))
            case _:
                return end

    def _check_headers(self, request: web.Request, recording: Recording) -> None:
        leaked = list(strictness.leaked_headers(request.headers))
        for name in leaked:
            recording.violates("leaked_header", name)
        if leaked:
            raise faults.RefusedError(faults.detail(f"Unexpected header: {', '.join(leaked)}"))


def _fault(end: Refusal, account: Account | None) -> faults.Fault:
    """With the usage headers that upstream sends on every answer, refusals too."""
    if account is None:
        return faults.of_step(end, plan="plus", now=int(time.time()))
    fault = faults.of_step(end, plan=account.plan, now=int(time.time()))
    return fault.with_headers(account.usage.headers(is_refused=isinstance(end, Limit)))


def refuse(recording: Recording, fault: faults.Fault) -> web.Response:
    """The fault over HTTP."""
    recording.status = fault.status
    recording.sent(fault.body)
    recording.end("refused")
    headers = {"content-type": fault.content_type, **fault.headers}
    return web.Response(status=fault.status, body=fault.body, headers=headers)


def cut(request: web.Request) -> web.Response:
    """Closes the connection; what was written still leaves, nothing follows."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


def connection_of(request: web.Request) -> str:
    """The caller's end of the TCP connection: tells whether connections are used again."""
    peer = request.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "?"
