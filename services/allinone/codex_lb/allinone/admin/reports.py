"""What was spent, from the terminal: reports and trends, as tables and as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from google.protobuf.duration_pb2 import Duration
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from codex_lb.allinone.admin.actions import as_plain, print_json, with_admin
from codex_lb.allinone.admin.client import Admin
from codex_lb.allinone.admin.log_tables import count_text, seconds_text, usd
from codex_lb.allinone.admin.moments import instant_of
from codex_lb.allinone.admin.names import label_of, resolve
from codex_lb.allinone.admin.spreadsheet import open_sheet
from codex_lb.allinone.admin.tables import moment
from codex_lb.allinone.admin.where import Where
from codex_lb.allinone.terminal import console
from codex_lb.api.admin.v1 import report_service_pb2 as pb

GROUPS = {
    "hour": pb.REPORT_GROUP_HOUR,
    "day": pb.REPORT_GROUP_DAY,
    "account": pb.REPORT_GROUP_ACCOUNT,
    "key": pb.REPORT_GROUP_API_KEY,
    "model": pb.REPORT_GROUP_MODEL,
}
BARS = "▁▂▃▄▅▆▇█"
SUM_HEAD = (
    *("turns", "failed", "cancelled", "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens"),
    *("cost_usd", "unpriced_turns", "mean_first_output_s", "mean_total_s"),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which report is meant, as people say it."""

    by: str
    accounts: Sequence[str]
    api_key_ids: Sequence[str]
    models: Sequence[str]
    since: str | None
    until: str | None
    time_zone: str


def show_report(where: Where, wanted: Wanted, *, as_csv: bool, as_json: bool) -> None:
    """`admin report`."""

    async def show(admin: Admin) -> None:
        known = await admin.all_accounts()
        now = datetime.now(UTC)
        request = pb.GetReportRequest(
            since=instant_of(wanted.since, now=now),
            until=instant_of(wanted.until, now=now),
            group_by=GROUPS[wanted.by],
            time_zone=wanted.time_zone,
            accounts=[resolve(given, known).name for given in wanted.accounts],
            api_key_ids=wanted.api_key_ids,
            models=wanted.models,
        )
        report = await admin.reports.GetReport(request)
        labels = {account.name: label_of(account) for account in known}
        zone = ZoneInfo(wanted.time_zone or "UTC")
        if as_json:
            print_json(as_plain(report))
        elif as_csv:
            write_report(report, wanted.by, labels, zone)
        else:
            console().print(report_table(report, wanted.by, labels, zone))

    with_admin(where, show)


def show_trends(where: Where, by: str, *, days: int, as_csv: bool, as_json: bool) -> None:
    """`admin trends`."""

    async def show(admin: Admin) -> None:
        found = await admin.reports.ListTrends(pb.ListTrendsRequest(days=days, group_by=GROUPS[by]))
        labels = {account.name: label_of(account) for account in await admin.all_accounts()}
        if as_json:
            print_json(as_plain(found))
        elif as_csv:
            write_trends(found, by, labels)
        elif found.trends:
            console().print(trends_table(found, by, labels))
        else:
            console().print(f"Nothing was spent in the last {days} days.")

    with_admin(where, show)


def report_table(report: pb.Report, by: str, labels: Mapping[str, str], zone: ZoneInfo) -> RenderableType:
    """One line per row, and the total below."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0), show_footer=True)
    total = report.total
    cells = _cells(total)
    table.add_column(by.capitalize(), footer="Total", overflow="fold")
    heads = ("Turns", "Failed", "Input", "Cached", "Output", "Cost", "Unpriced", "First", "Took")
    for head, cell in zip(heads, cells, strict=True):
        table.add_column(head, footer=cell, justify="right", no_wrap=True)
    for row in report.rows:
        cells = _cells(row.sums)
        style = "" if row.sums.turns else "dim"
        table.add_row(_row_name(row, by, labels, zone), *cells, style=style)
    return table


def trends_table(found: pb.ListTrendsResponse, by: str, labels: Mapping[str, str]) -> RenderableType:
    """One line per name: its days as bars of cost, or of tokens where nothing has a price."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    since = f"{moment(found.since):%d %b} to today"
    for head in (by.capitalize(), since):
        table.add_column(head, overflow="fold")
    for head in ("Turns", "Tokens", "Cost"):
        table.add_column(head, justify="right", no_wrap=True)
    for trend in found.trends:
        total = trend.total
        costs = [day.cost_micro_usd for day in trend.days]
        tokens = [day.input_tokens + day.output_tokens for day in trend.days]
        table.add_row(
            labels.get(trend.name, trend.name) or Text("none", style="dim"),
            bars(costs if any(costs) else tokens),
            str(total.turns),
            count_text(total.input_tokens + total.output_tokens),
            f"${usd(total.cost_micro_usd)}",
        )
    return table


def bars(values: Sequence[int]) -> str:
    """A series as bars, the highest full; nothing is a dot."""
    top = max(values, default=0)
    return "".join("·" if value <= 0 else BARS[min(7, value * 8 // (top + 1))] for value in values)


def write_report(report: pb.Report, by: str, labels: Mapping[str, str], zone: ZoneInfo) -> None:
    """CSV to standard output."""
    is_named = by not in ("hour", "day")
    with open_sheet(None, (by, *(("name",) if by == "account" else ()), *SUM_HEAD)) as sheet:
        for row in report.rows:
            key = row.name.removeprefix("accounts/") if is_named else _row_name(row, by, labels, zone)
            label = (labels.get(row.name, ""),) if by == "account" else ()
            sheet.add((key, *label, *_values(row.sums)))


def write_trends(found: pb.ListTrendsResponse, by: str, labels: Mapping[str, str]) -> None:
    """CSV to standard output, a row for every day."""
    first = moment(found.since)
    with open_sheet(None, (by, "name", "day", *SUM_HEAD)) as sheet:
        for trend in found.trends:
            name = trend.name.removeprefix("accounts/")
            for number, day in enumerate(trend.days):
                date = f"{first + timedelta(days=number):%Y-%m-%d}"
                sheet.add((name, labels.get(trend.name, trend.name), date, *_values(day)))


def _row_name(row: pb.ReportRow, by: str, labels: Mapping[str, str], zone: ZoneInfo) -> str:
    if by == "hour":
        return f"{moment(row.starts_at):%Y-%m-%d %H:%M}"
    if by == "day":
        return f"{moment(row.starts_at).astimezone(zone):%Y-%m-%d}"
    return labels.get(row.name, row.name) or "none"


def _cells(sums: pb.Sums) -> Iterable[str]:
    return (
        str(sums.turns),
        str(sums.failed) if sums.failed else "–",
        count_text(sums.input_tokens),
        f"{sums.cached_input_tokens / sums.input_tokens:.0%}" if sums.input_tokens else "–",
        count_text(sums.output_tokens),
        f"${usd(sums.cost_micro_usd)}",
        str(sums.unpriced_turns) if sums.unpriced_turns else "–",
        seconds_text(sums.mean_first_output if sums.HasField("mean_first_output") else None),
        seconds_text(sums.mean_total if sums.HasField("mean_total") else None),
    )


def _values(sums: pb.Sums) -> tuple[object, ...]:
    return (
        sums.turns,
        sums.failed,
        sums.cancelled,
        sums.input_tokens,
        sums.cached_input_tokens,
        sums.output_tokens,
        sums.reasoning_tokens,
        usd(sums.cost_micro_usd),
        sums.unpriced_turns,
        _seconds(sums.mean_first_output) if sums.HasField("mean_first_output") else None,
        _seconds(sums.mean_total) if sums.HasField("mean_total") else None,
    )


def _seconds(duration: Duration) -> float:
    return round(duration.ToMicroseconds() / 1e6, 3)
