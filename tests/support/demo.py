"""`make demo`: the product against the simulator, with ten accounts and a little traffic. Ctrl-C ends everything."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import anyio
import httpx
import uvloop
from rich.console import Console
from rich.text import Text

from codex_lb.kit.service import Stop, first_of
from codex_lb.kit.signals import stop_on_signals
from tests.support.system import Plan, System, a_turn, start_all_in_one
from tests.support.upstream import Window, limit, ok, overloaded, slow, start_upstream

PORT = 2455
PEOPLE: dict[str, Plan] = {
    "ada": "pro",
    "alan": "plus",
    "barbara": "plus",
    "edsger": "team",
    "frances": "plus",
    "grace": "pro",
    "hedy": "free",
    "john": "business",
    "katherine": "weekly",
    "margaret": "plus",
}
PROMPTS = (
    "Rename this function",
    "Why does the build fail?",
    "Write a test for the parser <<long:120>>",
    "Explain this stack trace <<long:60>>",
    "Summarise the diff",
)
TURNS_APART_S = 0.7
MISHAPS_APART_S = 12.0
LIMITED_FOR_S = 45
USAGE_EVERY_S = 5  # so that the windows are seen to fill
QUOTA_TOKENS = 60_000  # a window that fills within minutes
ROWS_APART_MAX = 200  # between the first and the last request of one turn
STOP_WITHIN_S = 20.0

console = Console(highlight=False)


async def main() -> None:
    """Runs until Ctrl-C."""
    stop = Stop()
    env = {"CODEX_LB_USAGE_REFRESH_INTERVAL_SECONDS": str(USAGE_EVERY_S)}
    with tempfile.TemporaryDirectory(prefix="codex-lb-demo-") as folder:
        async with (
            stop_on_signals(stop),
            start_upstream() as upstream,
            start_all_in_one(upstream, Path(folder), port=PORT if is_free(PORT) else 0, env=env) as system,
        ):
            await move_in(system)
            console.print(welcome(system), soft_wrap=True)
            await first_of(stop.wait, Traffic(system).run, lambda: mishaps(system))
            console.print("Stopping the demo.", style="dim")
            await system.control.stop(within_s=STOP_WITHIN_S)


async def move_in(system: System) -> None:
    """Ten accounts, each with a history of its own."""
    for name, plan in PEOPLE.items():
        [account] = await system.add(name, plan=plan)
        if plan not in ("free", "weekly"):
            await system.upstream.set_usage(
                account.name,
                primary=a_window(used_percent=random.randint(0, 60), minutes=300),
                secondary=a_window(used_percent=random.randint(5, 80), minutes=10_080),
            )
    await system.upstream.keep_bytes(keep=False)  # a demo may run for hours
    await system.models_known()


def a_window(*, used_percent: float, minutes: int) -> Window:
    """A window somewhere in its course."""
    left_s = random.uniform(0.1, 0.95) * minutes * 60
    return Window(used_percent=used_percent, window_minutes=minutes, resets_in_s=left_s, quota_tokens=QUOTA_TOKENS)


def welcome(system: System) -> Text:
    """What can be tried."""
    program = Path(sys.executable).with_name("codex-lb")
    shown = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
    command = f"{shown} admin --data-dir {system.data_dir}"
    return Text.from_markup(
        f"\n[bold]codex-lb demo[/]  {system.base_url}  (ten accounts at a simulated upstream)\n\n"
        f"  The page         {system.base_url}/\n"
        f"  The pool         {command} accounts list\n"
        f"  The product      {command} status\n"
        f"  Take one out     {command} accounts pause ada@example.com\n"
        f"  A turn           curl {system.base_url}/v1/responses -H 'content-type: application/json'"
        ' -d \'{"model": "gpt-5.3-codex", "input": "Say hello"}\'\n\n'
        "  Ctrl-C ends it. Here is what happens meanwhile:\n"
    )


class Traffic:
    """A turn now and then, never one waiting for the other."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._newest_row = 0

    async def run(self) -> None:
        """Goes on until cancelled."""
        async with anyio.create_task_group() as turns:
            for number in itertools.count(1):
                turns.start_soon(self._turn, f"turn {number}")
                await anyio.sleep(random.uniform(0.5, 1.5) * TURNS_APART_S)

    async def _turn(self, name: str) -> None:
        """One turn, and a line about it."""
        began = time.monotonic()
        try:
            answer = await self._system.client.post("/v1/responses", json=a_turn(random.choice(PROMPTS)))
        except httpx.TransportError as error:
            say(name, f"failed: {type(error).__name__}", "red")
            return
        took_ms = (time.monotonic() - began) * 1000
        route = await self._route(answer.headers["x-request-id"])
        if answer.status_code == 200:
            usage = answer.json()["usage"]
            tokens = f"{usage['input_tokens']} + {usage['output_tokens']} tokens"
            say(name, f"{route:<28}  {tokens:<16}  {took_ms:.0f} ms", "green")
        else:
            say(name, f"{route:<28}  {answer.status_code} {answer.json()['error']['message']}", "yellow")

    async def _route(self, request_id: str) -> str:
        """The accounts that upstream saw the turn on, with the status of those that failed."""
        rows = await self._system.upstream.turns(since=max(0, self._newest_row - ROWS_APART_MAX))
        self._newest_row = max([self._newest_row, *(row.seq for row in rows)])
        own = [row for row in rows if row.header("x-request-id") == request_id]
        return " → ".join(f"{row.account}" if row.status == 200 else f"{row.account} ({row.status})" for row in own)


async def mishaps(system: System) -> None:
    """Now and then an account is refused for a while, overloaded, or slow: the turns go on elsewhere."""
    while True:
        await anyio.sleep(MISHAPS_APART_S)
        name = random.choice(list(PEOPLE))
        match random.randrange(3):
            case 0:
                await system.upstream.script(name, limit(resets_in_s=LIMITED_FOR_S), then=ok())
                say(name, f"will be refused for {LIMITED_FOR_S} s at its next turn: usage limit reached", "magenta")
            case 1:
                await system.upstream.script(name, overloaded(), then=ok())
                say(name, "will be overloaded once", "magenta")
            case _:
                await system.upstream.script(name, slow(0.1), slow(0.1), then=ok())
                say(name, "will be slow twice", "magenta")


def say(who: str, what: str, style: str) -> None:
    """A line of the report."""
    console.print(
        Text(time.strftime("  %H:%M:%S  "), style="dim") + Text(f"{who:<10}", style=style) + Text(what), soft_wrap=True
    )


def is_free(port: int) -> bool:
    """Whether the port can be had."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
