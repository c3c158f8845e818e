"""Affinities from the terminal: which conversations tend to which accounts, and forgetting that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from codex_lb.allinone.admin.actions import as_plain, print_json, with_admin
from codex_lb.allinone.admin.client import PAGE_SIZE, Admin
from codex_lb.allinone.admin.keys import ago
from codex_lb.allinone.admin.names import label_of, resolve
from codex_lb.allinone.admin.where import Where
from codex_lb.allinone.failures import CommandError
from codex_lb.allinone.terminal import console
from codex_lb.api.admin.v1 import affinity_service_pb2 as pb

COLLECTION = "affinities/"
ID_CHARS_SHOWN = 14  # tells a hundred thousand apart; the start of one may be typed
KINDS = {
    pb.AFFINITY_KIND_SESSION: "session id",
    pb.AFFINITY_KIND_CACHE_KEY: "cache key",
    pb.AFFINITY_KIND_PREFIX: "how it began",
}


class UnknownAffinityError(CommandError):
    """No affinity, or more than one, is called that."""


def list_affinities(where: Where, account: str | None, *, idle_min_s: float, as_json: bool) -> None:
    """`admin affinities list`."""

    async def show(admin: Admin) -> None:
        accounts = await admin.all_accounts()
        name = resolve(account, accounts).name if account else ""
        found = await _all(admin, account=name, idle_min_s=idle_min_s)
        if as_json:
            print_json([as_plain(affinity) for affinity in found])
            return
        labels = {known.name: label_of(known) for known in accounts}
        console().print(affinities_table(found, labels, now=datetime.now(UTC)))

    with_admin(where, show)


def purge(where: Where, ids: Sequence[str], account: str | None, *, idle_min_s: float) -> None:
    """`admin affinities purge`."""

    async def send(admin: Admin) -> None:
        idle = _span(idle_min_s)
        if ids:
            known = await _all(admin)
            requests = [pb.PurgeAffinitiesRequest(name=name_of(one, known), idle_min=idle) for one in ids]
        elif account is not None:
            name = resolve(account, await admin.all_accounts()).name
            requests = [pb.PurgeAffinitiesRequest(account=name, idle_min=idle)]
        else:
            requests = [pb.PurgeAffinitiesRequest(all=True, idle_min=idle)]
        purged = [(await admin.affinities.PurgeAffinities(request)).purged for request in requests]
        console().print(f"{sum(purged)} forgotten.")

    with_admin(where, send)


def affinities_table(found: Iterable[pb.Affinity], labels: Mapping[str, str], *, now: datetime) -> Table:
    """One line per affinity."""
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    for column in ("Id", "Known by", "Account", "There since", "Last used"):
        table.add_column(column)
    for affinity in found:
        table.add_row(
            affinity.name.removeprefix(COLLECTION)[:ID_CHARS_SHOWN],
            KINDS.get(affinity.kind, "?"),
            Text(labels.get(affinity.account, affinity.account)),
            ago(affinity.bound_at, now=now),
            ago(affinity.used_at, now=now),
        )
    return table


def name_of(given: str, known: Iterable[pb.Affinity]) -> str:
    """The resource name that an id, or the start of one, stands for. Raises UnknownAffinityError."""
    start = COLLECTION + given.removeprefix(COLLECTION).lower()
    found = [affinity.name for affinity in known if affinity.name.startswith(start)]
    if len(found) != 1:
        what = f"{len(found)} affinities begin with" if found else "There is no affinity"
        raise UnknownAffinityError(f"{what} {given}. `codex-lb admin affinities list --json` shows ids in full.")
    return found[0]


async def _all(admin: Admin, *, account: str = "", idle_min_s: float = 0.0) -> list[pb.Affinity]:
    found: list[pb.Affinity] = []
    token = ""
    while True:
        request = pb.ListAffinitiesRequest(
            page_size=PAGE_SIZE, page_token=token, account=account, idle_min=_span(idle_min_s)
        )
        page = await admin.affinities.ListAffinities(request)
        found += page.affinities
        token = page.next_page_token
        if not token:
            return found


def _span(value_s: float) -> Duration:
    return Duration(seconds=int(value_s), nanos=int(value_s % 1 * 1e9))
