"""The admin API's answers as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from codex_lb.allinone.admin.names import id_of, label_of
from codex_lb.api.admin.v1 import account_service_pb2 as pb
from codex_lb.api.admin.v1.system_service_pb2 import GetStatusResponse

BAR_CELLS, BAR_CELLS_FEW = 8, 4
WIDE_COLUMNS = 110  # what the table needs with everything in it
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
UNITS_MIN = 1.95  # "90 min" says more than "2 h", and "120 min" less
STALE_AFTER_S = 10 * MINUTE_S  # ten missed fetches of usage

STATUS_STYLES = {
    "active": "green",
    "rate_limited": "yellow",
    "quota_exceeded": "yellow",
    "paused": "blue",
    "reauth_required": "red",
    "deactivated": "red",
}
ACTIONS = {
    pb.IMPORT_ACTION_CREATE: ("added", "would be added", "green"),
    pb.IMPORT_ACTION_UPDATE: ("renewed", "would be renewed", "green"),
    pb.IMPORT_ACTION_REJECT: ("rejected", "would be rejected", "red"),
}


def accounts_table(accounts: Iterable[pb.Account], *, now: datetime, columns: int) -> RenderableType:
    """Two lines per account; a terminal of few columns gets shorter bars, and only what decides who serves."""
    is_wide = columns >= WIDE_COLUMNS
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2 if is_wide else 1, 0, 0))
    for column in ("Account", "Plan", "Status", "5 h", "Week", *(("Turns", "Seen") if is_wide else ())):
        table.add_column(column, overflow="fold")
    for account in accounts:
        windows = {window.window: window for window in account.windows}
        cells = BAR_CELLS if is_wide else BAR_CELLS_FEW
        label = Text(label_of(account))
        table.add_row(
            label.append(f"\n{id_of(account)}", style="dim") if is_wide else label,
            account.plan or "?",
            status_text(account, now=now),
            window_text(windows.get("primary"), now=now, cells=cells),
            window_text(windows.get("secondary") or windows.get("monthly"), now=now, cells=cells),
            *((str(account.streams_in_use), seen_text(account, now=now)) if is_wide else ()),
        )
    return table


def status_text(account: pb.Account, *, now: datetime) -> Text:
    """Where it stands, for how long, and why."""
    name = status_name(account.status)
    text = Text(words(name), style=STATUS_STYLES.get(name, ""))
    if account.HasField("status_until"):
        text.append(f" {ahead(account.status_until, now=now)}", style="dim")
    if account.status_reason and name not in ("active", "paused"):
        text.append(f"\n{account.status_reason}", style="dim")
    return text


def window_text(window: pb.AccountWindow | None, *, now: datetime, cells: int) -> Text:
    """How full a window is, as a bar and a number, and below it when it starts anew."""
    if window is None:
        return Text("–", style="dim")
    used = min(max(window.used_percent, 0.0), 100.0)
    style = "green" if used < 70 else "yellow" if used < 95 else "red"
    filled = round(used / 100 * cells)
    text = Text("█" * filled, style=style).append("░" * (cells - filled), style="dim").append(f" {used:3.0f} %")
    if window.window == "monthly":
        text.append(" of a month", style="dim")
    if window.HasField("resets_at"):
        text.append(f"\nresets {ahead(window.resets_at, now=now)}", style="dim")
    return text


def seen_text(account: pb.Account, *, now: datetime) -> Text:
    """How old the usage is."""
    if not account.HasField("usage_observed_at"):
        return Text("never", style="dim")
    age_s = (now - moment(account.usage_observed_at)).total_seconds()
    return Text(f"{span(age_s)} ago", style="yellow" if age_s > STALE_AFTER_S else "dim")


def import_table(rows: Iterable[pb.ImportRow], *, is_dry_run: bool) -> RenderableType:
    """One line per file."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    for column in ("File", "Result", "Account", "Plan", "Id"):
        table.add_column(column, overflow="fold")
    for row in rows:
        done, would_be, style = ACTIONS[row.action]
        result = Text(would_be if is_dry_run else done, style=style)
        if row.action == pb.IMPORT_ACTION_REJECT:
            table.add_row(row.display_name, result, Text(row.problem), "", "")
        else:
            plan = row.account.plan or "?"
            table.add_row(row.display_name, result, label_of(row.account), plan, Text(id_of(row.account), style="dim"))
    return table


def status_view(status: GetStatusResponse, *, now: datetime) -> RenderableType:
    """The product at a glance."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    facts.add_row("Version", status.version)
    facts.add_row("Running for", span((now - moment(status.started_at)).total_seconds()))
    facts.add_row("Accounts", _counts(status))
    facts.add_row("Models", str(status.models) if status.models else Text("none known yet", style="yellow"))
    facts.add_row("Turns recorded", f"{status.turns_recorded} since the start, {status.leases} running")
    facts.add_row(
        "Settlements", f"{status.settlements_waiting} waiting" if status.settlements_waiting else "all stored"
    )
    facts.add_row("Database", status.database)
    facts.add_row("Usage-worker", _worker(status, now=now))
    gateways: list[RenderableType] = [
        f"{gateway.replica_id}  {gateway.version}  {gateway.leases} running, heard"
        f" {span((now - moment(gateway.heard_at)).total_seconds())} ago"
        for gateway in status.gateways
    ]
    facts.add_row("Gateways", Group(*gateways) if gateways else Text("none attached", style="red"))
    return facts


def status_name(status: pb.AccountStatus.ValueType) -> str:
    """`rate_limited` for ACCOUNT_STATUS_RATE_LIMITED."""
    return pb.AccountStatus.Name(status).removeprefix("ACCOUNT_STATUS_").lower()


def words(name: str) -> str:
    """`rate limited` for `rate_limited`."""
    return name.replace("_", " ")


def ahead(instant: Timestamp, *, now: datetime) -> str:
    """`in 2 h`, or `now` for what is past."""
    seconds = (moment(instant) - now).total_seconds()
    return f"in {span(seconds)}" if seconds > 0 else "now"


def span(seconds: float) -> str:
    """A length of time in its largest fitting unit."""
    for unit_s, unit in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min")):
        if seconds >= UNITS_MIN * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def moment(instant: Timestamp) -> datetime:
    """A wire instant as a datetime in UTC."""
    return instant.ToDatetime(UTC)


def _counts(status: GetStatusResponse) -> Text:
    counts = [(name, status.accounts_by_status[name]) for name in STATUS_STYLES if status.accounts_by_status[name]]
    if not counts:
        return Text("none yet: codex-lb admin accounts import ~/.codex/auth.json", style="yellow")
    return Text(", ").join(Text(f"{count} {words(name)}", style=STATUS_STYLES[name]) for name, count in counts)


def _worker(status: GetStatusResponse, *, now: datetime) -> Text:
    if not status.HasField("worker_seen_at"):
        return Text("never seen: usage is not fetched", style="red")
    age_s = (now - moment(status.worker_seen_at)).total_seconds()
    return Text(f"seen {span(age_s)} ago", style="red" if age_s > MINUTE_S else "")
