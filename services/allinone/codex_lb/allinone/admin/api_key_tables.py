"""API keys as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from codex_lb.allinone.admin.tables import BAR_CELLS, WIDE_COLUMNS, ahead, moment, span
from codex_lb.api.admin.v1 import api_key_service_pb2 as pb

MICROS = 1_000_000
COLLECTION = "apiKeys/"

# What people write, the unit it means, and how many of that unit one of it is.
LIMIT_UNITS: dict[str, tuple[pb.LimitUnit.ValueType, int]] = {
    "tokens": (pb.LIMIT_UNIT_TOTAL_TOKENS, 1),
    "input-tokens": (pb.LIMIT_UNIT_INPUT_TOKENS, 1),
    "output-tokens": (pb.LIMIT_UNIT_OUTPUT_TOKENS, 1),
    "usd": (pb.LIMIT_UNIT_COST_USD, MICROS),
    "requests": (pb.LIMIT_UNIT_REQUESTS, 1),
}
LIMIT_WINDOWS: dict[str, pb.LimitWindow.ValueType] = {
    "5h": pb.LIMIT_WINDOW_FIVE_HOURS,
    "day": pb.LIMIT_WINDOW_DAY,
    "week": pb.LIMIT_WINDOW_WEEK,
    "month": pb.LIMIT_WINDOW_MONTH,
}
UNIT_NAMES = {number: name for name, (number, _) in LIMIT_UNITS.items()}
WINDOW_NAMES = {number: name for name, number in LIMIT_WINDOWS.items()}


def keys_table(keys: Iterable[pb.ApiKey], *, now: datetime, columns: int) -> RenderableType:
    """One line per key, and one more for every further limit."""
    is_wide = columns >= WIDE_COLUMNS
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2 if is_wide else 1, 0, 0))
    for column in ("Key", "Status", "Models", "Limits", *(("Turns", "Last used") if is_wide else ())):
        table.add_column(column, overflow="fold")
    for key in keys:
        limits = [limit_text(limit, now=now) for limit in key.limits]
        label = Text(key.display_name)
        table.add_row(
            label.append(f"\n{key.key_prefix}…", style="dim"),
            status_text(key, now=now),
            models_text(key),
            Group(*limits) if limits else Text("none", style="dim"),
            *((streams_text(key), used_text(key, now=now)) if is_wide else ()),
        )
    return table


def key_view(key: pb.ApiKey, *, now: datetime) -> RenderableType:
    """Everything about one key."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("Key", Text(key.display_name, style="bold").append(f"  {key.key_prefix}…", style="dim"))
    facts.add_row("Id", id_of(key))
    facts.add_row("Status", status_text(key, now=now))
    facts.add_row("Models", models_text(key))
    if key.enforced_reasoning_effort or key.allowed_reasoning_efforts:
        always = f"always {key.enforced_reasoning_effort}"
        facts.add_row("Effort", always if key.enforced_reasoning_effort else ", ".join(key.allowed_reasoning_efforts))
    if key.enforced_service_tier:
        facts.add_row("Service tier", f"always {key.enforced_service_tier}")
    if key.HasField("account_scope"):
        ids = [name.removeprefix("accounts/") for name in key.account_scope.accounts]
        facts.add_row("Accounts", ", ".join(ids) if ids else Text("none: it cannot be used", style="red"))
    facts.add_row("Turns", streams_text(key))
    limits = [limit_text(limit, now=now) for limit in key.limits]
    facts.add_row("Limits", Group(*limits) if limits else Text("none", style="dim"))
    facts.add_row("Last used", used_text(key, now=now))
    if key.HasField("previous_key_until") and moment(key.previous_key_until) > now:
        facts.add_row("Old secret", f"ends {ahead(key.previous_key_until, now=now)}")
    return facts


def status_text(key: pb.ApiKey, *, now: datetime) -> Text:
    """Whether it works, and for how long."""
    if key.disabled:
        return Text("disabled", style="red")
    if not key.HasField("expires_at"):
        return Text("active", style="green")
    if moment(key.expires_at) <= now:
        return Text("expired", style="red")
    return Text("active", style="green").append(f"\nexpires {ahead(key.expires_at, now=now)}", style="dim")


def models_text(key: pb.ApiKey) -> Text:
    """What it may use."""
    if key.enforced_model:
        return Text(f"always {key.enforced_model}")
    return Text(", ".join(key.allowed_models)) if key.allowed_models else Text("all", style="dim")


def limit_text(limit: pb.Limit, *, now: datetime) -> Text:
    """How much is used of how much, as a bar and in numbers, and when it begins anew."""
    used = min(1.0, (limit.amount_used + limit.amount_reserved) / limit.amount_max) if limit.amount_max else 1.0
    style = "green" if used < 0.7 else "yellow" if used < 0.95 else "red"
    filled = round(used * BAR_CELLS)
    text = Text("█" * filled, style=style).append("░" * (BAR_CELLS - filled), style="dim")
    name = "" if limit.unit == pb.LIMIT_UNIT_COST_USD else f" {UNIT_NAMES.get(limit.unit, '?').replace('-', ' ')}"
    text.append(f" {amount_text(limit, limit.amount_used)} of {amount_text(limit, limit.amount_max)}{name}")
    text.append(f" a {WINDOW_NAMES[limit.window]}" if limit.window != pb.LIMIT_WINDOW_FIVE_HOURS else " in 5 h")
    if limit.model:
        text.append(f" with {limit.model}")
    if limit.HasField("resets_at"):
        text.append(f", resets {ahead(limit.resets_at, now=now)}", style="dim")
    return text


def amount_text(limit: pb.Limit, amount: int) -> str:
    """`1.2M`, `200k`, `$4.50`."""
    if limit.unit == pb.LIMIT_UNIT_COST_USD:
        return f"${amount / MICROS:,.2f}"
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if amount >= size:
            return f"{amount / size:.3g}{letter}" if amount < 1000 * size else f"{amount / size:,.0f}{letter}"
    return str(amount)


def streams_text(key: pb.ApiKey) -> str:
    """How many run, of how many that may."""
    return f"{key.streams_in_use} running" + (f", at most {key.streams_max}" if key.streams_max else "")


def used_text(key: pb.ApiKey, *, now: datetime) -> Text:
    """How long ago a turn of it was recorded."""
    if not key.HasField("last_used_at"):
        return Text("never", style="dim")
    return Text(f"{span((now - moment(key.last_used_at)).total_seconds())} ago")


def id_of(key: pb.ApiKey) -> str:
    """The id in a resource name."""
    return key.name.removeprefix(COLLECTION)
