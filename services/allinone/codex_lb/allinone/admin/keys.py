"""The encryption key from the terminal: what there is, and a new one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from codex_lb.allinone.admin.actions import as_plain, print_json, with_admin
from codex_lb.allinone.admin.client import Admin
from codex_lb.allinone.admin.tables import moment, span
from codex_lb.allinone.admin.where import Where
from codex_lb.allinone.terminal import console
from codex_lb.api.admin.v1 import key_service_pb2 as pb

STATES = {
    pb.KEY_STATE_PRESENT: ("in use", "green"),
    pb.KEY_STATE_OLDER: ("older: opens what it sealed", "yellow"),
    pb.KEY_STATE_RETIRING: ("retiring: what it sealed is sealed anew", "yellow"),
    pb.KEY_STATE_RETIRED: ("retired", "dim"),
    pb.KEY_STATE_MISSING: ("missing in the key file", "red"),
}


def list_keys(where: Where, *, as_json: bool) -> None:
    """`admin keys list`."""

    async def show(admin: Admin) -> None:
        answer = await admin.keys.ListKeys(pb.ListKeysRequest())
        if as_json:
            print_json(as_plain(answer))
            return
        console().print(keys_table(answer.keys, now=datetime.now(UTC)))
        if answer.problem:
            console().print(Text(answer.problem, style="red"), soft_wrap=True)

    with_admin(where, show)


def rotate(where: Where) -> None:
    """`admin keys rotate`."""

    async def start(admin: Admin) -> None:
        answer = await admin.keys.RotateKeys(pb.RotateKeysRequest())
        console().print(keys_table(answer.keys, now=datetime.now(UTC)))
        console().print(Text(_COPY, style="bold"), soft_wrap=True)

    with_admin(where, start)


_COPY = (
    "A new key seals from now on. Make a copy of the key file now; keep the old copy for as long as you keep backups of"
    " the database from before. `codex-lb admin keys list` shows when the old key is retired, about a minute from now."
)


def keys_table(keys: Iterable[pb.Key], *, now: datetime) -> Table:
    """One line per key."""
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    for column in ("Key", "State", "Seals", "Since", "Retired"):
        table.add_column(column)
    for key in keys:
        text, style = STATES.get(key.state, ("?", ""))
        table.add_row(
            key.key_id,
            Text(text, style=style),
            str(key.sealed),
            ago(key.added_at if key.HasField("added_at") else None, now=now),
            ago(key.retired_at if key.HasField("retired_at") else None, now=now),
        )
    return table


def ago(instant: Timestamp | None, *, now: datetime) -> str:
    """`2 h ago`; nothing where nobody noted it."""
    return "" if instant is None else f"{span((now - moment(instant)).total_seconds())} ago"
