"""Signs accounts in from the terminal, and writes a login out."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import threading
from contextlib import suppress
from pathlib import Path

import anyio
import grpc
import grpc.aio

from codex_lb.allinone.admin.actions import with_admin
from codex_lb.allinone.admin.client import Admin
from codex_lb.allinone.admin.names import label_of, resolve
from codex_lb.allinone.admin.where import Where
from codex_lb.allinone.failures import CommandError
from codex_lb.allinone.terminal import console
from codex_lb.api.admin.v1 import oauth_service_pb2 as pb
from codex_lb.api.admin.v1.account_service_pb2 import GetAccountRequest
from codex_lb.api.errors.v1.reasons_pb2 import ErrorReason
from codex_lb.kit.rpc_errors import from_rpc_error

LOOK_EVERY_S = 0.5
AWAY_MAX_S = 30.0  # a control that restarts goes on with the sign-in
CANCEL_WITHIN_S = 2.0
COMPLETE_WITHIN_S = 90.0  # an exchange with a slow issuer, and before it somebody else's
LIVE = (pb.FLOW_STATE_PENDING, pb.FLOW_STATE_EXCHANGING)


class SignInFailedError(CommandError):
    """Nobody was signed in."""


class UnwritableFileError(CommandError):
    """The login cannot be written there."""


def add_account(where: Where, *, is_device: bool, is_paste: bool, name: str | None) -> None:
    """`admin accounts add`."""

    async def sign_in(admin: Admin) -> None:
        account = resolve(name, await admin.all_accounts()).name if name is not None else ""
        method = pb.FLOW_METHOD_DEVICE if is_device else pb.FLOW_METHOD_BROWSER
        started = await admin.sign_ins.StartFlow(pb.StartFlowRequest(method=method, account=account))
        tell_what_to_do(started, is_paste=is_paste)
        ended = await wait(admin, started.flow, is_pasting=not is_device, must_paste=is_paste)
        if ended.state != pb.FLOW_STATE_SUCCEEDED:
            raise SignInFailedError(ended.problem or _ENDS[ended.state])
        signed_in = await admin.accounts.GetAccount(GetAccountRequest(name=ended.account))
        console().print(f"{label_of(signed_in)}: {'added' if ended.account_created else 'signed in again'}")

    with_admin(where, sign_in)


_ENDS = {
    pb.FLOW_STATE_FAILED: "The sign-in failed.",
    pb.FLOW_STATE_CANCELLED: "The sign-in was cancelled.",
    pb.FLOW_STATE_EXPIRED: "The sign-in took too long and has expired. Start it again.",
}


def tell_what_to_do(started: pb.StartFlowResponse, *, is_paste: bool) -> None:
    """The link, and the code or what comes after it. Never folded: people copy it."""
    terminal = console()
    if started.user_code:
        terminal.print("Open this page on any device:\n", soft_wrap=True)
        terminal.print(f"  {started.verification_url}\n", soft_wrap=True)
        terminal.print(f"and type this code: {started.user_code}\n")
    else:
        terminal.print("Open this page in a browser and sign in:\n")
        terminal.print(f"  {started.authorization_url}\n", soft_wrap=True, markup=False)
        if started.callback_problem:
            terminal.print(started.callback_problem, soft_wrap=True)
        if is_paste or started.callback_problem:
            terminal.print("It ends on a page that cannot be loaded. Paste that page's address here:")
        else:
            terminal.print("When the browser runs on another machine, paste the address it ends on here.")
    terminal.print("Waiting. Ctrl-C calls it off.")


async def wait(admin: Admin, flow: pb.Flow, *, is_pasting: bool, must_paste: bool) -> pb.Flow:
    """How it ended. Called off, when this is."""
    watching = asyncio.create_task(watched(admin, flow.name))
    pasting = asyncio.create_task(take_pasted(admin, flow.name, must_come=must_paste)) if is_pasting else watching
    has_ended = False
    try:
        await asyncio.wait({watching, pasting}, return_when=asyncio.FIRST_COMPLETED)
        if pasting.done():
            await pasting  # raises when no line was right
        ended = await watching
        has_ended = True
        return ended
    finally:
        watching.cancel()
        pasting.cancel()
        if not has_ended:
            with anyio.CancelScope(shield=True), suppress(grpc.aio.AioRpcError):
                await admin.sign_ins.CancelFlow(pb.CancelFlowRequest(name=flow.name), timeout=CANCEL_WITHIN_S)


async def watched(admin: Admin, name: str) -> pb.Flow:
    """The sign-in once it has ended; what goes wrong before is told as it comes."""
    told = ""
    away_since: float | None = None
    while True:
        try:
            flow = await admin.sign_ins.GetFlow(pb.GetFlowRequest(name=name))
        except grpc.aio.AioRpcError as error:
            away_since = anyio.current_time() if away_since is None else away_since
            is_over = anyio.current_time() - away_since > AWAY_MAX_S
            if error.code() is not grpc.StatusCode.UNAVAILABLE or is_over:
                raise
            await anyio.sleep(LOOK_EVERY_S)
            continue
        away_since = None
        if flow.state not in LIVE:
            return flow
        if flow.problem and flow.problem != told:
            console().print(flow.problem, soft_wrap=True, markup=False)
        told = flow.problem
        await anyio.sleep(LOOK_EVERY_S)


async def take_pasted(admin: Admin, name: str, *, must_come: bool) -> None:
    """Completes the sign-in with every line that is typed, until one is right."""
    problem = "Nothing was pasted."
    lines = lines_typed()
    while (line := await lines.get()) is not None:
        if not line.strip():
            continue
        try:
            request = pb.CompleteFlowRequest(name=name, callback_url=line)
            flow = await admin.sign_ins.CompleteFlow(request, timeout=COMPLETE_WITHIN_S)
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error)
            if failure.reason != ErrorReason.ERROR_REASON_INVALID_ARGUMENT:
                raise
            problem = failure.message
            console().print(problem, soft_wrap=True, markup=False)
        else:
            problem = flow.problem  # told, as its end is, by whoever watches
            if flow.state not in LIVE:
                return
    if must_come:
        raise SignInFailedError(f"{problem} The sign-in was called off.")


def lines_typed() -> asyncio.Queue[str | None]:
    """Lines of standard input as they come, None at its end.

    They are read in a thread that nobody waits for: a read from a terminal cannot be called off.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        with suppress(RuntimeError, ValueError, OSError):  # the loop, or standard input, is closed by now
            for line in sys.stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, name="standard input", daemon=True).start()
    return lines


def export_account(where: Where, name: str, file: Path | None) -> None:
    """`admin accounts export`."""

    async def export(admin: Admin) -> None:
        account = resolve(name, await admin.all_accounts())
        exported = await admin.sign_ins.ExportAccount(pb.ExportAccountRequest(name=account.name))
        if file is None:
            sys.stdout.buffer.write(exported.content)
            sys.stdout.flush()
        else:
            write_secret(file, exported.content)
            console().print(f"{label_of(account)}: written to {file}", soft_wrap=True, markup=False)
        sys.stderr.write(f"{_WORKS_ONCE}\n")

    with_admin(where, export)


_WORKS_ONCE = (
    "codex-lb: This login is also the pool's. Its refresh token works once: when another program renews the login, the"
    " pool's ends, and the other way round. Take the account out of the pool, or keep the file as a copy."
)


def write_secret(file: Path, content: bytes) -> None:
    """For the owner's eyes only, whatever stood there before; whole or not at all. Raises UnwritableFileError."""
    file = file.expanduser()
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as opened:
            opened.write(content)
        unfinished.replace(file)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise UnwritableFileError(f"{file} cannot be written: {error.strerror}.") from error
