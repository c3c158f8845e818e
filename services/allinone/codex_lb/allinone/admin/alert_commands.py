"""The commands below `admin alerts`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

alerts = typer.Typer(help="What is worth waking somebody for, and where that is told.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print the admin API's JSON, for scripts.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name or id of a target.", show_default=False)]


class Form(StrEnum):
    """In which form an alert is told."""

    WEBHOOK = "webhook"
    SLACK = "slack"
    DISCORD = "discord"
    TELEGRAM = "telegram"


class Kind(StrEnum):
    """What an alert is about."""

    REAUTH_REQUIRED = "reauth-required"
    ACCOUNT_CLOSED = "account-closed"
    POOL_LOW = "pool-low"
    POOL_EXHAUSTED = "pool-exhausted"
    ERROR_BURST = "error-burst"
    KEY_LIMIT_NEAR = "key-limit-near"
    KEY_LIMIT_REACHED = "key-limit-reached"


@alerts.command("list")
def list_alerts(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show the last alerts, and how far each is on its way."""
    from codex_lb.allinone.admin import alerts as actions

    actions.list_alerts(context.obj, as_json=as_json)


@alerts.command()
def targets(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show where alerts go. Addresses are secret and never shown."""
    from codex_lb.allinone.admin import alerts as actions

    actions.list_targets(context.obj, as_json=as_json)


@alerts.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.", show_default=False)],
    *,
    url: Annotated[str, typer.Option("--url", help="Where to post to; - reads it from standard input.")] = "-",
    form: Annotated[Form, typer.Option("--form", help="What stands there.")] = Form.WEBHOOK,
    secret: Annotated[
        str | None, typer.Option("--secret", help="Signs webhooks; or set CODEX_LB_ALERT_SECRET.", show_default=False)
    ] = None,
    chat: Annotated[str, typer.Option("--chat", metavar="ID", help="Which chat; Telegram only.")] = "",
    only: Annotated[list[Kind] | None, typer.Option("--only", help="What to tell; again for more.")] = None,
) -> None:
    """Add a place where alerts go, and try it out with: codex-lb admin alerts test NAME."""
    from codex_lb.allinone.admin import alerts as actions

    actions.add_target(context.obj, actions.NewTarget(name, form.value, url, secret, chat, only or []))


@alerts.command("set")
def set_(
    context: typer.Context,
    target: Name,
    *,
    name: Annotated[str | None, typer.Option("--name", help="What to call it from now on.", show_default=False)] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", help="Where to post to; - reads it from standard input.", show_default=False),
    ] = None,
    form: Annotated[
        Form | None, typer.Option("--form", help="What stands there; only with --url.", show_default=False)
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(
            "--secret", help="Signs webhooks; - reads it from standard input, an empty one ends it.", show_default=False
        ),
    ] = None,
    chat: Annotated[
        str | None, typer.Option("--chat", metavar="ID", help="Which chat; Telegram only.", show_default=False)
    ] = None,
    only: Annotated[list[Kind] | None, typer.Option("--only", help="What to tell; again for more.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Tell everything.")] = False,
) -> None:
    """Change where alerts go, or what is told there. What is not named stays as it is."""
    from codex_lb.allinone.admin import alerts as actions

    if only and everything:
        raise typer.BadParameter("--only and --everything contradict each other.")
    if url == secret == "-":
        raise typer.BadParameter("Only one of --url and --secret can come from standard input.")
    wants = [] if everything else only or None
    change = actions.Change(name, form.value if form else None, url, secret, chat, wants)
    if change == actions.Change():
        raise typer.BadParameter("Say what to change: --name, --url, --form, --secret, --chat, --only or --everything.")
    actions.change_target(context.obj, target, change)


@alerts.command()
def test(context: typer.Context, name: Name) -> None:
    """Send an alert that says nothing but that it arrived. Exits 1 when it did not."""
    from codex_lb.allinone.admin import alerts as actions

    if not actions.test_target(context.obj, name):
        raise typer.Exit(1)


@alerts.command()
def remove(context: typer.Context, name: Name) -> None:
    """Take a place away."""
    from codex_lb.allinone.admin import alerts as actions

    actions.remove_target(context.obj, name)
