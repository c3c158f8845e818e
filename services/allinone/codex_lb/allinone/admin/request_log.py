"""The request log from the terminal: lines, one line with all that is behind it, and all of it as CSV."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from codex_lb.allinone.admin.actions import as_plain, print_json, with_admin
from codex_lb.allinone.admin.client import PAGE_SIZE, Admin
from codex_lb.allinone.admin.log_tables import CSV_HEAD, csv_row, details_view, requests_table
from codex_lb.allinone.admin.moments import instant_of
from codex_lb.allinone.admin.names import label_of, resolve
from codex_lb.allinone.admin.spreadsheet import open_sheet
from codex_lb.allinone.admin.where import Where
from codex_lb.allinone.terminal import console
from codex_lb.api.admin.v1 import request_log_service_pb2 as pb
from codex_lb.api.control.v1 import leases_pb2

COLLECTION = "requests/"
PAGES_LOOKED_AT_MAX = 50  # for a list: a million lines, which takes some seconds


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines are meant, as people say it."""

    accounts: Sequence[str]
    api_key_ids: Sequence[str]
    models: Sequence[str]
    outcomes: Sequence[str]
    since: str | None
    until: str | None
    session_id: str
    text: str


def list_requests(where: Where, wanted: Wanted, *, limit: int, as_json: bool) -> None:
    """`admin requests list`."""

    async def show(admin: Admin) -> None:
        found: list[pb.Request] = []
        pages = 0
        async for page in _pages(admin, wanted, page_size=min(limit, PAGE_SIZE)):
            pages += 1
            found += page.requests
            if len(found) >= limit or pages == PAGES_LOOKED_AT_MAX:
                break
        if as_json:
            print_json([as_plain(request) for request in found[:limit]])
            return
        terminal = console()
        if not found:
            terminal.print("No such request is in the log.")
            return
        labels = await _labels(admin)
        terminal.print(requests_table(found[:limit], labels, now=datetime.now(UTC), columns=terminal.width))

    with_admin(where, show)


def show_request(where: Where, request_id: str, *, as_json: bool) -> None:
    """`admin requests show`."""

    async def show(admin: Admin) -> None:
        name = COLLECTION + request_id.removeprefix(COLLECTION)
        details = await admin.request_log.GetRequest(pb.GetRequestRequest(name=name))
        if as_json:
            print_json(as_plain(details))
        else:
            console().print(details_view(details, await _labels(admin)))

    with_admin(where, show)


def export_requests(where: Where, wanted: Wanted, output: Path | None) -> None:
    """`admin requests export`: page by page, so that its length does not matter."""

    async def write(admin: Admin) -> None:
        labels = await _labels(admin)
        with open_sheet(output, CSV_HEAD) as sheet:
            async for page in _pages(admin, wanted, page_size=PAGE_SIZE):
                for request in page.requests:
                    sheet.add(csv_row(request, labels))

    with_admin(where, write)


async def _pages(admin: Admin, wanted: Wanted, *, page_size: int) -> AsyncIterator[pb.ListRequestsResponse]:
    """Page after page, newest first."""
    now = datetime.now(UTC)
    known = await admin.all_accounts() if wanted.accounts else []
    request = pb.ListRequestsRequest(
        page_size=page_size,
        accounts=[resolve(given, known).name for given in wanted.accounts],
        api_key_ids=wanted.api_key_ids,
        models=wanted.models,
        outcomes=[leases_pb2.Outcome.Value(f"OUTCOME_{outcome.upper()}") for outcome in wanted.outcomes],
        since=instant_of(wanted.since, now=now),
        until=instant_of(wanted.until, now=now),
        session_id=wanted.session_id,
        text=wanted.text,
    )
    while True:
        page = await admin.request_log.ListRequests(request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def _labels(admin: Admin) -> Mapping[str, str]:
    """What accounts are called, by resource name."""
    return {account.name: label_of(account) for account in await admin.all_accounts()}
