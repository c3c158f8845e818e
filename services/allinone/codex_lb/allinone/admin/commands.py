"""The commands below `codex-lb admin`. They talk to control; imports wait until a command runs, as in cli.py."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from codex_lb.allinone.admin.affinity_commands import affinities
from codex_lb.allinone.admin.alert_commands import alerts
from codex_lb.allinone.admin.api_key_commands import api_keys
from codex_lb.allinone.admin.ledger_commands import report, requests, trends
from codex_lb.allinone.admin.web_access_commands import sign_in_link, web_sessions
from codex_lb.allinone.admin.where import Where

admin = typer.Typer(help="Look at the pool and run it.", no_args_is_help=True)
accounts = typer.Typer(help="Accounts of the pool. NAME is an id, an alias or an e-mail.", no_args_is_help=True)
models = typer.Typer(help="Models that the pool offers.", no_args_is_help=True)
keys = typer.Typer(help="The key that logins are sealed with.", no_args_is_help=True)
settings = typer.Typer(help="What holds for the whole pool, changed while it runs.", no_args_is_help=True)
admin.add_typer(accounts, name="accounts")
admin.add_typer(models, name="models")
admin.add_typer(keys, name="keys")
admin.add_typer(settings, name="settings")
admin.add_typer(affinities, name="affinities")
admin.add_typer(requests, name="requests")
admin.add_typer(alerts, name="alerts")
admin.command()(report)
admin.command()(trends)
admin.add_typer(api_keys, name="api-keys")
admin.command("sign-in-link")(sign_in_link)
admin.add_typer(web_sessions, name="web-sessions")

AsJson = Annotated[bool, typer.Option("--json", help="Print the admin API's JSON, for scripts.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME", help="Id, alias or e-mail.", show_default=False)]


@admin.callback()
def where(
    context: typer.Context,
    data_dir: Annotated[
        Path | None, typer.Option(help="Data folder of a control on this machine.", show_default="~/.codex-lb")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="HOST:2456", help="Address of a control elsewhere; or set CODEX_LB_SERVER."),
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="Service token, with --server; better set CODEX_LB_SERVICE_TOKEN.")
    ] = None,
    tls_ca: Annotated[
        Path | None,
        typer.Option(help="Authority that signed the server's certificate.", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """Where control is."""
    if data_dir is not None and server is not None:
        raise typer.BadParameter("--data-dir is for a control on this machine, --server for one elsewhere.")
    context.obj = Where(data_dir, server, token, tls_ca)


@admin.command()
def status(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show how the product is."""
    from codex_lb.allinone.admin import actions

    actions.show_status(context.obj, as_json=as_json)


@admin.command()
def explain(
    context: typer.Context,
    request_id: Annotated[
        str, typer.Argument(metavar="REQUEST_ID", help="From the x-request-id header of an answer.", show_default=False)
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Tell why a turn was served by which account, or why by none."""
    from codex_lb.allinone.admin import decisions

    decisions.explain(context.obj, request_id, as_json=as_json)


@admin.command()
def simulate(
    context: typer.Context,
    *,
    strategy: Annotated[str, typer.Option(help="Such as round_robin.", show_default=False)],
    hours: Annotated[float, typer.Option(help="How far back to replay.", min=0.1, max=24 * 28)] = 24.0,
    account: Annotated[
        str | None, typer.Option(metavar="NAME", help="The account of the strategy single_account.")
    ] = None,
    prefer_earlier_reset: Annotated[
        bool | None, typer.Option(help="Whether earlier resets come first.", show_default="as it is set")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay what was recorded with another strategy: who would have served how much."""
    from codex_lb.allinone.admin import decisions

    what_if = decisions.WhatIf(strategy, hours, account, prefer_earlier_reset)
    decisions.simulate(context.obj, what_if, as_json=as_json)


@accounts.command("list")
def list_accounts(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show every account: where it stands, how full its windows are, what runs on it."""
    from codex_lb.allinone.admin import actions

    actions.list_accounts(context.obj, as_json=as_json)


@accounts.command("import")
def import_accounts(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE", help="auth.json files, folders of them, or - for standard input.", show_default=False
        ),
    ],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add logins from auth.json files of the Codex CLI. Exits 1 when one of them cannot be used."""
    from codex_lb.allinone.admin import actions

    if not actions.import_accounts(context.obj, files, is_dry_run=dry_run, as_json=as_json):
        raise typer.Exit(1)


@accounts.command()
def pause(context: typer.Context, names: Names) -> None:
    """Take accounts out of selection; running turns finish."""
    from codex_lb.allinone.admin import actions

    actions.pause(context.obj, names)


@accounts.command()
def resume(context: typer.Context, names: Names) -> None:
    """Put paused accounts back."""
    from codex_lb.allinone.admin import actions

    actions.resume(context.obj, names)


@accounts.command()
def reactivate(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Id, alias or e-mail.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All accounts that upstream refused for a while.")] = False,
) -> None:
    """Lift what upstream's refusals imposed, so that accounts are offered again at once."""
    from codex_lb.allinone.admin import actions

    if every == bool(names):
        raise typer.BadParameter("Name accounts, or say --all.")
    actions.reactivate(context.obj, None if every else names)


class Policy(StrEnum):
    """How eagerly an account is used."""

    BURN_FIRST = "burn-first"
    NORMAL = "normal"
    PRESERVE = "preserve"


@accounts.command("set")
def set_(
    context: typer.Context,
    names: Names,
    *,
    alias: Annotated[str | None, typer.Option(help="What to call it; an empty one takes the name away.")] = None,
    policy: Annotated[Policy | None, typer.Option(help="Use it first, as usual, or only when no other can.")] = None,
    priority: Annotated[
        int | None, typer.Option(help="Accounts of a higher one serve first.", min=-100, max=100)
    ] = None,
    stop_at: Annotated[
        float | None,
        typer.Option(metavar="PERCENT", help="Spare it from this share of a window on; 100: never.", min=0.1, max=100),
    ] = None,
) -> None:
    """Change what accounts are called and how eagerly they are used."""
    from codex_lb.allinone.admin import actions

    if alias is None and policy is None and priority is None and stop_at is None:
        raise typer.BadParameter("Say what to change: --alias, --policy, --priority or --stop-at.")
    if alias and len(names) > 1:
        raise typer.BadParameter("An alias is for one account.")
    actions.update(context.obj, names, actions.Change(alias, policy.value if policy else None, priority, stop_at))


@accounts.command()
def refresh(
    context: typer.Context,
    names: Names,
    *,
    rotate_tokens: Annotated[bool, typer.Option("--rotate-tokens", help="Ask the issuer for new tokens too.")] = False,
) -> None:
    """Have usage fetched at once."""
    from codex_lb.allinone.admin import actions

    actions.refresh(context.obj, names, rotate_tokens=rotate_tokens)


@accounts.command()
def probe(
    context: typer.Context,
    names: Names,
    *,
    model: Annotated[
        str, typer.Option(help="Which model to ask.", show_default="the first that the account's plan lists")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Send one small turn on accounts now, and say whether they serve. Exits 1 when one of them does not."""
    from codex_lb.allinone.admin import actions

    if not actions.probe(context.obj, names, model=model, as_json=as_json):
        raise typer.Exit(1)


@models.command("sync")
def sync_models(context: typer.Context) -> None:
    """Have the models of every plan listed at once."""
    from codex_lb.allinone.admin import actions

    actions.sync_models(context.obj)


@accounts.command()
def delete(
    context: typer.Context,
    names: Names,
    *,
    with_history: Annotated[
        bool, typer.Option("--with-history", help="Remove its request log and evidence too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove accounts and their logins for good."""
    from codex_lb.allinone.admin import actions

    actions.delete(context.obj, names, with_history=with_history, is_confirmed=yes)


@accounts.command()
def add(
    context: typer.Context,
    *,
    device: Annotated[bool, typer.Option("--device", help="Sign in by typing a code on any device.")] = False,
    paste: Annotated[
        bool, typer.Option("--paste", help="Sign in with a browser elsewhere, and paste the address it ends on.")
    ] = False,
    account: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Sign this account in again; any other seat or workspace is refused."),
    ] = None,
) -> None:
    """Sign an account in. Exits 1 when it did not succeed; Ctrl-C calls it off."""
    from codex_lb.allinone.admin import sign_in

    if device and paste:
        raise typer.BadParameter("--device needs no address, so there is nothing to paste.")
    sign_in.add_account(context.obj, is_device=device, is_paste=paste, name=account)


@accounts.command()
def export(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Id, alias or e-mail.", show_default=False)],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to; yours alone.", show_default="standard output"),
    ] = None,
) -> None:
    """Write an account's login as the auth.json of the Codex CLI. It is a secret, and works for one program only."""
    from codex_lb.allinone.admin import sign_in

    sign_in.export_account(context.obj, name, output)


@keys.command("list")
def list_keys(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show every key this database was used with, and how far a rotation is. No key itself is ever shown."""
    from codex_lb.allinone.admin import keys as actions

    actions.list_keys(context.obj, as_json=as_json)


@keys.command()
def rotate(context: typer.Context) -> None:
    """Add a key, seal everything anew in the background, and retire the old key. Traffic goes on meanwhile."""
    from codex_lb.allinone.admin import keys as actions

    actions.rotate(context.obj)


@settings.command("list")
def list_settings(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show every setting, and which of them were changed here."""
    from codex_lb.allinone.admin import settings as actions

    actions.list_settings(context.obj, as_json=as_json)


@settings.command("set")
def set_settings(
    context: typer.Context,
    assignments: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=VALUE", help="Such as routing_strategy=round_robin; lists with commas.", show_default=False
        ),
    ],
) -> None:
    """Change settings, all of them or none. They hold from the next turn on."""
    from codex_lb.allinone.admin import settings as actions

    actions.change_settings(context.obj, assignments)


@settings.command("reset")
def reset_settings(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Name of a setting.", show_default=False)],
) -> None:
    """Give settings back to the environment: what it says, or else the default."""
    from codex_lb.allinone.admin import settings as actions

    actions.reset_settings(context.obj, names)
