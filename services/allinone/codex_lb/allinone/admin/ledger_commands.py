"""The commands about what was asked and what it cost: `admin requests`, `admin report`, `admin trends`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

requests = typer.Typer(help="The request log: one line per turn.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print the admin API's JSON, for scripts.")]
Accounts = Annotated[
    list[str] | None, typer.Option("--account", metavar="NAME", help="Id, alias or e-mail; again for more.")
]
Keys = Annotated[list[str] | None, typer.Option("--key", metavar="ID", help="Id of an API key; again for more.")]
Models = Annotated[list[str] | None, typer.Option("--model", metavar="MODEL", help="Again for more.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="WHEN", help="Such as 2h, 7d, 2026-11-20 or 2026-11-20T08:30.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="The same; that instant is left out.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to.", show_default="standard output")
]


class Outcome(StrEnum):
    """How a turn can end."""

    COMPLETED = "completed"
    LIMITED = "limited"
    REJECTED = "rejected"
    BROKEN = "broken"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"
    REFUSED = "refused"


Outcomes = Annotated[list[Outcome] | None, typer.Option("--outcome", help="How it ended; again for more.")]
Session = Annotated[str, typer.Option("--session", metavar="ID", help="Turns of one session.")]
Text = Annotated[str, typer.Option("--text", help="Found in ids, faults, routes, client names or addresses.")]


@requests.command("list")
def list_requests(
    context: typer.Context,
    *,
    account: Accounts = None,
    key: Keys = None,
    model: Models = None,
    outcome: Outcomes = None,
    since: Since = None,
    until: Until = None,
    session: Session = "",
    text: Text = "",
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many lines.", min=1, max=10_000)] = 25,
    as_json: AsJson = False,
) -> None:
    """Show what was asked lately: who served it, how it ended, what it took and what it cost."""
    from codex_lb.allinone.admin import request_log as actions

    wanted = actions.Wanted(account or [], key or [], model or [], outcome or [], since, until, session, text)
    actions.list_requests(context.obj, wanted, limit=limit, as_json=as_json)


@requests.command()
def show(
    context: typer.Context,
    request: Annotated[str, typer.Argument(metavar="ID", help="As in the list, or in x-request-id.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one request: every attempt, how each account was chosen, and where the time went."""
    from codex_lb.allinone.admin import request_log as actions

    actions.show_request(context.obj, request, as_json=as_json)


@requests.command()
def export(
    context: typer.Context,
    *,
    account: Accounts = None,
    key: Keys = None,
    model: Models = None,
    outcome: Outcomes = None,
    since: Since = None,
    until: Until = None,
    session: Session = "",
    text: Text = "",
    output: Output = None,
) -> None:
    """Write the request log as CSV, newest first; all of it unless told otherwise."""
    from codex_lb.allinone.admin import request_log as actions

    wanted = actions.Wanted(account or [], key or [], model or [], outcome or [], since, until, session, text)
    actions.export_requests(context.obj, wanted, output)


class By(StrEnum):
    """What the rows of a report stand for."""

    HOUR = "hour"
    DAY = "day"
    ACCOUNT = "account"
    KEY = "key"
    MODEL = "model"


def report(
    context: typer.Context,
    *,
    by: Annotated[By, typer.Option("--by", help="What a row stands for.")] = By.DAY,
    account: Accounts = None,
    key: Keys = None,
    model: Models = None,
    since: Since = None,
    until: Until = None,
    time_zone: Annotated[
        str, typer.Option("--time-zone", metavar="NAME", help="Of the days, such as Europe/Berlin.", show_default="UTC")
    ] = "",
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV to standard output.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add up what was spent: turns, tokens, cost. The last seven days, unless told otherwise."""
    from codex_lb.allinone.admin import reports as actions

    wanted = actions.Wanted(by.value, account or [], key or [], model or [], since, until, time_zone)
    actions.show_report(context.obj, wanted, as_csv=as_csv, as_json=as_json)


class Whose(StrEnum):
    """Whose days are shown."""

    ACCOUNT = "account"
    KEY = "key"
    MODEL = "model"


def trends(
    context: typer.Context,
    *,
    by: Annotated[Whose, typer.Option("--by", help="Whose days are shown.")] = Whose.ACCOUNT,
    days: Annotated[int, typer.Option("--days", help="How many, today included.", min=1, max=92)] = 28,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV to standard output.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what every account, key or model spent day by day, in UTC."""
    from codex_lb.allinone.admin import reports as actions

    actions.show_trends(context.obj, by.value, days=days, as_csv=as_csv, as_json=as_json)
