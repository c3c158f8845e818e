"""The command `codex-lb`. What a command needs is imported when it runs, so that `codex-lb --help` answers at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from codex_lb.allinone.admin.commands import admin
from codex_lb.allinone.failures import sentence_of

WHERE_CONTROL_IS = {"--data-dir", "--server", "--token", "--tls-ca"}
ANSWERED_BY_THE_PROGRAM = {"--help", "-h", "--version", "--install-completion", "--show-completion"}

app = typer.Typer(
    help="Pools ChatGPT accounts behind one OpenAI-compatible address. Without a command: serve.",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(admin, name="admin")

DataDir = Annotated[Path | None, typer.Option(help="Folder of the database and the key.", show_default="~/.codex-lb")]


def main() -> NoReturn:
    """Exits 0, 1 with one sentence when a command cannot do what it was asked, or 2 when it was asked wrongly."""
    try:
        app(args=understood(sys.argv[1:]), prog_name="codex-lb")
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        sys.stderr.write(f"codex-lb: {sentence}\n")
        sys.exit(1)
    sys.exit(0)


def understood(arguments: Sequence[str]) -> list[str]:
    """The arguments in the form that typer knows.

    `codex-lb --port 8000` means `codex-lb serve --port 8000`, and the options that say where control is may stand
    anywhere behind `admin`.
    """
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ANSWERED_BY_THE_PROGRAM):
        return ["serve", *arguments]
    if arguments[0] != "admin":
        return list(arguments)
    where: list[str] = []
    rest: list[str] = []
    words = iter(arguments[1:])
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word.partition("=")[0] in WHERE_CONTROL_IS:
            where += [word] if "=" in word else [word, *islice(words, 1)]
        else:
            rest.append(word)
    return ["admin", *where, *rest]


def show_version(is_asked: bool) -> None:
    """Ends the program where `--version` stands."""
    if is_asked:
        version()
        raise typer.Exit


@app.callback()
def program(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", is_eager=True, callback=show_version)
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address clients connect to.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port clients connect to.", show_default="2455", min=0, max=65535)
    ] = None,
    data_dir: DataDir = None,
    gateways: Annotated[
        int | None,
        typer.Option(help="Gateway processes on the port, for several cores.", show_default="1", min=1, max=64),
    ] = None,
) -> None:
    """Serve everything from this one program: the gateway, control and the usage-worker."""
    from functools import partial

    from codex_lb.allinone import embedded
    from codex_lb.allinone.banner import voice_for
    from codex_lb.allinone.process import run_until_stopped
    from codex_lb.allinone.settings import AllInOneSettings
    from codex_lb.kit.settings import load

    given = {"host": host, "port": port, "data_dir": data_dir, "gateways": gateways}
    settings = load(AllInOneSettings).model_copy(update={k: v for k, v in given.items() if v is not None})
    run_until_stopped(settings, partial(embedded.serve, settings, voice=voice_for(settings)))


@app.command(hidden=True)
def gateway_beside(fd: int, data_dir: Path) -> None:
    """One of several gateways of `serve --gateways`, which starts it."""
    from functools import partial

    from codex_lb.allinone.beside import serve_beside
    from codex_lb.allinone.process import run_until_stopped
    from codex_lb.allinone.settings import ProcessSettings
    from codex_lb.kit.settings import load

    run_until_stopped(load(ProcessSettings), partial(serve_beside, fd, data_dir))


@app.command()
def gateway() -> None:
    """Run a gateway on its own (settings from the environment)."""
    from codex_lb.allinone import separate

    separate.gateway()


@app.command()
def control() -> None:
    """Run control on its own (settings from the environment)."""
    from codex_lb.allinone import separate

    separate.control()


@app.command("usage-worker")
def usage_worker() -> None:
    """Run a usage-worker on its own (settings from the environment)."""
    from codex_lb.allinone import separate

    separate.usage_worker()


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database's schema to what this version needs."""
    from codex_lb.allinone import separate

    separate.migrate(data_dir)


@app.command()
def check(data_dir: DataDir = None) -> None:
    """Check settings, data folder, key, database, upstream and control; exits 1 when something is wrong."""
    from codex_lb.allinone.check import check as run_check

    raise typer.Exit(0 if run_check(data_dir) else 1)


@app.command()
def version() -> None:
    """Show the version."""
    from importlib.metadata import version as installed_version

    sys.stdout.write(f"codex-lb {installed_version('codex-lb')}\n")
