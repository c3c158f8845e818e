"""`admin sign-in-link`, and the commands below `admin web-sessions`."""

from __future__ import annotations

from typing import Annotated

import typer

web_sessions = typer.Typer(help="Who is signed in with a browser.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print the admin API's JSON, for scripts.")]


def sign_in_link(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Print a link that signs one person in with a browser. It works once, within ten minutes."""
    from codex_lb.allinone.admin import web_access as actions

    actions.print_link(context.obj, as_json=as_json)


@web_sessions.command("list")
def list_sessions(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show who is signed in, since when and from where."""
    from codex_lb.allinone.admin import web_access as actions

    actions.list_sessions(context.obj, as_json=as_json)


@web_sessions.command()
def end(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Id of a session.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
) -> None:
    """Sign people out, at once and everywhere."""
    from codex_lb.allinone.admin import web_access as actions

    if every == bool(ids):
        raise typer.BadParameter("Name sessions, or say --all.")
    actions.end_sessions(context.obj, None if every else ids)
