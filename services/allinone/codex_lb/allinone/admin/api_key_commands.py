"""The commands below `codex-lb admin api-keys`; imports wait until a command runs, as in cli.py."""

from __future__ import annotations

from typing import Annotated

import typer

api_keys = typer.Typer(
    help="What clients present when API keys are asked for. NAME is an id, a name or the first characters of the key.",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print the admin API's JSON, for scripts.")]
Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
Names = Annotated[list[str], typer.Argument(metavar="NAME", show_default=False)]
Expires = Annotated[str | None, typer.Option(metavar="WHEN", help="When it stops working: 30d, 2027-01-31 or never.")]
Models = Annotated[
    list[str] | None, typer.Option("--model", metavar="MODEL", help="It may use this model; repeat it; all for any.")
]
EnforcedModel = Annotated[
    str | None, typer.Option(metavar="MODEL", help="Use this model whatever is asked for; any to let it choose.")
]
EnforcedEffort = Annotated[
    str | None, typer.Option(metavar="EFFORT", help="Think this hard whatever is asked for; any to let it choose.")
]
EnforcedTier = Annotated[
    str | None, typer.Option(metavar="TIER", help="Use this service tier whatever is asked for; any to let it choose.")
]
Efforts = Annotated[
    list[str] | None,
    typer.Option("--effort", metavar="EFFORT", help="It may ask for this effort; repeat it; all for any."),
]
Accounts = Annotated[
    list[str] | None,
    typer.Option("--account", metavar="NAME", help="It may use this account; repeat it; all for the whole pool."),
]
StreamsMax = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="Turns at once, further ones wait; 0 for no limit.")
]
LIMIT_HELP = "Such as '200k tokens/day', '$5/week' or '100 requests/5h:gpt-5.5'; units: tokens, input-tokens, "
LIMIT_HELP += "output-tokens, usd, requests; windows: 5h, day, week, month."


@api_keys.command("list")
def list_keys(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show every key, and how much of its limits is used."""
    from codex_lb.allinone.admin import api_keys as actions

    actions.list_keys(context.obj, as_json=as_json)


@api_keys.command()
def show(context: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Show everything about one key."""
    from codex_lb.allinone.admin import api_keys as actions

    actions.show_key(context.obj, name, as_json=as_json)


@api_keys.command()
def create(
    context: typer.Context,
    name: Name,
    *,
    expires: Expires = None,
    model: Models = None,
    enforced_model: EnforcedModel = None,
    enforced_effort: EnforcedEffort = None,
    enforced_tier: EnforcedTier = None,
    effort: Efforts = None,
    account: Accounts = None,
    streams_max: StreamsMax = None,
    limit: Annotated[list[str] | None, typer.Option("--limit", metavar="LIMIT", help=LIMIT_HELP)] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown once: only its SHA-256 is kept."""
    from codex_lb.allinone.admin import api_keys as actions

    wishes = actions.Wishes(
        name, expires, model, enforced_model, enforced_effort, enforced_tier, effort, account, streams_max, limit
    )
    actions.create(context.obj, wishes, as_json=as_json)


@api_keys.command()
def update(
    context: typer.Context,
    name: Name,
    *,
    rename: Annotated[str | None, typer.Option(metavar="NAME", help="Call it this.")] = None,
    expires: Expires = None,
    model: Models = None,
    enforced_model: EnforcedModel = None,
    enforced_effort: EnforcedEffort = None,
    enforced_tier: EnforcedTier = None,
    effort: Efforts = None,
    account: Accounts = None,
    streams_max: StreamsMax = None,
) -> None:
    """Change what a key may do. What is not named stays; it holds everywhere within a second."""
    from codex_lb.allinone.admin import api_keys as actions

    wishes = actions.Wishes(
        rename, expires, model, enforced_model, enforced_effort, enforced_tier, effort, account, streams_max
    )
    actions.update(context.obj, name, wishes)


@api_keys.command()
def limits(
    context: typer.Context,
    name: Name,
    limit: Annotated[list[str], typer.Argument(metavar="LIMIT", help=LIMIT_HELP, show_default=False)],
) -> None:
    """Give a key these limits instead of those it has; `none` for none. One that stays keeps its count."""
    from codex_lb.allinone.admin import api_keys as actions

    actions.update(context.obj, name, actions.Wishes(limits=limit))


@api_keys.command()
def reset(context: typer.Context, names: Names) -> None:
    """Begin the count of keys' limits anew, everywhere at once."""
    from codex_lb.allinone.admin import api_keys as actions

    actions.reset(context.obj, names)


@api_keys.command()
def rotate(
    context: typer.Context,
    name: Name,
    *,
    overlap: Annotated[str, typer.Option(metavar="SPAN", help="For how long the old key works on; 0 for not.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Replace a key's secret. Clients have the overlap to change over."""
    from codex_lb.allinone.admin import api_keys as actions

    actions.rotate(context.obj, name, overlap=overlap, as_json=as_json)


@api_keys.command()
def disable(context: typer.Context, names: Names) -> None:
    """Stop keys at once; running turns finish."""
    from codex_lb.allinone.admin import api_keys as actions

    actions.disable(context.obj, names)


@api_keys.command()
def enable(context: typer.Context, names: Names) -> None:
    """Let disabled keys work again."""
    from codex_lb.allinone.admin import api_keys as actions

    actions.enable(context.obj, names)


@api_keys.command()
def delete(
    context: typer.Context,
    names: Names,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove keys for good; what they spent stays in the request log."""
    from codex_lb.allinone.admin import api_keys as actions

    actions.delete(context.obj, names, is_confirmed=yes)
