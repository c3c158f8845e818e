"""People who come in with a browser, from the terminal: letting them in, seeing who is in, signing them out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from codex_lb.allinone.admin.actions import as_plain, print_json, with_admin
from codex_lb.allinone.admin.client import Admin
from codex_lb.allinone.admin.keys import ago
from codex_lb.allinone.admin.tables import ahead
from codex_lb.allinone.admin.where import Where
from codex_lb.allinone.terminal import console
from codex_lb.api.admin.v1 import web_access_service_pb2 as pb
from codex_lb.kit.sockets import is_loopback

COLLECTION = "webSessions/"
WAYS = {pb.SIGN_IN_WAY_BOOTSTRAP: "first visit", pb.SIGN_IN_WAY_LINK: "link"}


def print_link(where: Where, *, as_json: bool) -> None:
    """`admin sign-in-link`. The link is one line, however narrow the terminal is."""

    async def show(admin: Admin) -> None:
        link = await admin.web_access.CreateSignInLink(pb.CreateSignInLinkRequest())
        if as_json:
            print_json(as_plain(link))
            return
        terminal = console()
        terminal.print(Text(link.url), soft_wrap=True)
        host = urlsplit(link.url).hostname or ""
        elsewhere = f" From another machine, put this one's name in place of {host}." if is_loopback(host) else ""
        until = ahead(link.expires_at, now=datetime.now(UTC))
        terminal.print(Text(f"Works once, and ends {until}.{elsewhere}", style="dim"))

    with_admin(where, show)


def list_sessions(where: Where, *, as_json: bool) -> None:
    """`admin web-sessions list`."""

    async def show(admin: Admin) -> None:
        found = await _sessions(admin)
        if as_json:
            print_json([as_plain(session) for session in found])
        elif found:
            console().print(sessions_table(found, now=datetime.now(UTC)))
        else:
            console().print("Nobody is signed in. To let somebody in: codex-lb admin sign-in-link")

    with_admin(where, show)


def end_sessions(where: Where, ids: Sequence[str] | None) -> None:
    """`admin web-sessions end`; without ids, all of them."""

    async def end(admin: Admin) -> None:
        if ids is None:
            names = [session.name for session in await _sessions(admin)]
        else:
            names = [COLLECTION + one.removeprefix(COLLECTION) for one in ids]
        for name in names:
            await admin.web_access.DeleteWebSession(pb.DeleteWebSessionRequest(name=name))
            console().print(f"{name.removeprefix(COLLECTION)}: signed out")
        if not names:
            console().print("Nobody was signed in.")

    with_admin(where, end)


def sessions_table(sessions: Iterable[pb.WebSession], *, now: datetime) -> Table:
    """One line per session."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    for column in ("Since", "Last seen", "Ends", "From", "By", "Browser", "Id"):
        table.add_column(column, overflow="fold")
    for session in sessions:
        table.add_row(
            ago(session.created_at, now=now),
            ago(session.seen_at, now=now),
            ahead(session.expires_at, now=now),
            Text(session.address),
            WAYS.get(session.way, "?"),
            Text(session.user_agent, style="dim"),
            Text(session.name.removeprefix(COLLECTION), style="dim"),
        )
    return table


async def _sessions(admin: Admin) -> Sequence[pb.WebSession]:
    return (await admin.web_access.ListWebSessions(pb.ListWebSessionsRequest())).web_sessions
