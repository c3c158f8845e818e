"""What `codex-lb serve` says to the person who started it."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from codex_lb.allinone.invitation import CONTAINER_MARKS, how_to_sign_in, is_container, is_reachable, json_line
from codex_lb.allinone.settings import AllInOneSettings
from codex_lb.allinone.terminal import console
from codex_lb.kit.clock import Clock, SystemClock
from codex_lb.kit.settings import default_data_dir
from codex_lb.kit.sockets import url_of

COMMAND = "codex-lb"
MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class Serving:
    """What is served, and from where."""

    host: str
    port: int
    data_dir: Path
    accounts: int
    asks_for_keys: bool = False
    sign_in_link: str | None = None  # None: with the token that the environment fixes


class Voice:
    """Speaks to the terminal."""

    def __init__(self, console: Console, *, admin_command: str, is_reachable: Callable[[str], bool]) -> None:
        """`is_reachable` says of an address that is listened on whether other machines may reach it."""
        self._console = console
        self._admin_command = admin_command
        self._is_reachable = is_reachable

    def serving(self, serving: Serving) -> None:
        """Everything is up. The link goes to the terminal and never to the log, in one line however narrow that is."""
        is_reachable = self._is_reachable(serving.host)
        self._console.print(banner(serving, admin_command=self._admin_command, is_reachable=is_reachable))
        if is_reachable:
            url = url_of(serving.host, serving.port)
            self._console.print(Text(f"  {how_to_sign_in(serving.sign_in_link, url)}\n"), soft_wrap=True)

    def draining(self, turns: int, *, within_s: float) -> None:
        """The stop has been heard."""
        self._console.print(farewell(turns, within_s=within_s), style="dim")


class JsonVoice:
    """Says it to machines: one line of JSON each on standard output, like the log's on standard error."""

    def __init__(self, stream: TextIO, clock: Clock, *, is_reachable: Callable[[str], bool]) -> None:
        self._stream = stream
        self._clock = clock
        self._is_reachable = is_reachable

    def serving(self, serving: Serving) -> None:
        """Everything is up."""
        url = url_of(serving.host, serving.port)
        self._write("serving", address=url, data_dir=str(serving.data_dir), accounts=serving.accounts)
        if self._is_reachable(serving.host):
            self._write(how_to_sign_in(serving.sign_in_link, url))

    def draining(self, turns: int, *, within_s: float) -> None:
        """The stop has been heard."""
        self._write(farewell(turns, within_s=within_s))

    def _write(self, event: str, **fields: str | int) -> None:
        self._stream.write(json_line(self._clock, event, **fields))
        self._stream.flush()


def voice_for(settings: AllInOneSettings) -> Voice | JsonVoice:
    """The one that goes with the log."""
    if settings.log_format == "json":
        return JsonVoice(sys.stdout, SystemClock(), is_reachable=is_reachable)
    command = admin_command(settings.data_dir.expanduser().absolute())
    return Voice(console(), admin_command=command, is_reachable=is_reachable)


def banner(serving: Serving, *, admin_command: str, is_reachable: bool) -> RenderableType:
    """Where it is, what is in it, and what to do next."""
    base_url = url_of(serving.host, serving.port)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("Address", Text(base_url, style="bold"))
    facts.add_row("Data", str(serving.data_dir))
    facts.add_row("Accounts", str(serving.accounts) if serving.accounts else Text("none yet", style="yellow"))
    facts.add_row("Codex CLI", f'base_url = "{base_url}/backend-api/codex"')
    facts.add_row("OpenAI SDK", f'base_url = "{base_url}/v1"')
    parts: list[RenderableType] = [Text(f"{COMMAND} {version(COMMAND)}", style="bold"), "", facts, ""]
    if is_reachable:
        parts += [*remote_clients(serving, admin_command=admin_command), ""]
    if serving.accounts:
        parts.append(f"Look at the pool:   {admin_command} accounts list")
    else:
        parts.append(f"Import an account:  {admin_command} accounts import ~/.codex/auth.json")
    parts.append(f"How to set up a client:  {base_url}/")
    parts.append(Text("Ctrl-C stops it; running turns finish first.", style="dim"))
    return Padding(Group(*parts), (1, 2), expand=False)


def remote_clients(serving: Serving, *, admin_command: str) -> list[RenderableType]:
    """Who may come from elsewhere, and how to let others in. To a container even its own host is elsewhere."""
    if serving.asks_for_keys:
        return [f"Other machines can connect with an API key:  {admin_command} api-keys create NAME"]
    return [
        Text(
            "Other machines can connect, and are refused until they have an API key. Make it on the page that the",
            style="yellow",
        ),
        Text("link below leads to (with this machine's name in place of 127.0.0.1), or here:", style="yellow"),
        f"  {admin_command} api-keys create NAME",
        f"  {admin_command} settings set api_key_auth_enabled=true",
        Text("or CODEX_LB_PROXY_UNAUTHENTICATED_CLIENT_CIDRS lists their network.", style="dim"),
    ]


def farewell(turns: int, *, within_s: float) -> str:
    """What a first Ctrl-C is answered with."""
    if turns == 0:
        return "Stopping."
    running = "One turn runs and has" if turns == 1 else f"{turns} turns run and have"
    within = f"{within_s / MINUTE_S:.0f} minutes" if within_s >= 2 * MINUTE_S else f"{within_s:.0f} seconds"
    return f"{running} up to {within} to finish. Press Ctrl-C again to end at once."


def admin_command(data_dir: Path) -> str:
    """`codex-lb admin` as it must be typed here to reach this installation."""
    # In a container whose one program this is, commands come from its host; in others they are typed inside.
    is_the_one = os.getppid() <= 1
    command = f"{_container(CONTAINER_MARKS) if is_the_one else ''}{_program(sys.argv[0])} admin"
    return command if data_dir == default_data_dir() else f"{command} --data-dir {shlex.quote(str(data_dir))}"


def _container(marks: Sequence[Path]) -> str:
    """What stands before a command that is to run in this container; nothing outside of one."""
    if is_container(marks):
        return f"docker exec {socket.gethostname()} "
    return ""


def _program(invoked_as: str) -> str:
    """The program as it was called, or its name where the shell finds it by that."""
    found = shutil.which(COMMAND)
    is_found = found is not None and Path(found).absolute() == Path(invoked_as).absolute()
    if Path(invoked_as).name != COMMAND or (is_found and Path(invoked_as).is_absolute()):
        return COMMAND
    return shlex.quote(invoked_as)
