"""The commands below `codex-lb admin affinities`; imports wait until a command runs, as in commands.py."""

from __future__ import annotations

from typing import Annotated

import typer

affinities = typer.Typer(help="Which conversations tend to which accounts.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print the admin API's JSON, for scripts.")]
OfAccount = Annotated[str | None, typer.Option(metavar="NAME", help="Only those of this account: id, alias or e-mail.")]
Idle = Annotated[float, typer.Option(metavar="MINUTES", help="Only those unused for as long.", min=0)]


@affinities.command("list")
def list_affinities(
    context: typer.Context, *, account: OfAccount = None, idle: Idle = 0.0, as_json: AsJson = False
) -> None:
    """Show which conversations tend to which accounts, the last used first."""
    from codex_lb.allinone.admin import affinities as actions

    actions.list_affinities(context.obj, account, idle_min_s=idle * 60, as_json=as_json)


@affinities.command()
def purge(
    context: typer.Context,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="As `affinities list` shows it.", show_default=False)
    ] = None,
    *,
    account: OfAccount = None,
    every: Annotated[bool, typer.Option("--all", help="All there are.")] = False,
    idle: Idle = 0.0,
) -> None:
    """Forget habits: conversations are placed anew, at the price of their prompt cache. Nothing else is lost."""
    from codex_lb.allinone.admin import affinities as actions

    if bool(ids) + (account is not None) + every != 1:
        raise typer.BadParameter("Say which: ids, --account or --all, and only one of them.")
    actions.purge(context.obj, ids or [], account, idle_min_s=idle * 60)
