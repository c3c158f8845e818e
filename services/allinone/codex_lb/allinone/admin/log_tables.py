"""The request log's answers as tables for a terminal, and as rows for a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from codex_lb.allinone.admin.tables import moment, span
from codex_lb.api.admin.v1 import request_log_service_pb2 as pb
from codex_lb.api.control.v1 import leases_pb2

WIDE_COLUMNS = 150  # what the table needs with everything in it
MICRO = 1_000_000

OUTCOME_STYLES = {
    leases_pb2.OUTCOME_COMPLETED: "green",
    leases_pb2.OUTCOME_CANCELLED: "blue",
    leases_pb2.OUTCOME_LIMITED: "yellow",
    leases_pb2.OUTCOME_REFUSED: "yellow",
}
CSV_HEAD = (
    *("request", "started_at", "outcome", "status", "account", "account_name", "api_key_id", "model", "effort"),
    *("requested_model", "service_tier", "actual_service_tier", "work", "route", "transport", "attempts"),
    *("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "cost_usd", "cost_source"),
    *("leased_s", "dispatched_s", "first_byte_s", "first_output_s", "total_s", "fault_code", "fault_blame"),
    *("fault_message", "response_id", "session_id", "client", "client_ip", "request_bytes", "response_bytes"),
)


def requests_table(
    requests: Iterable[pb.Request], labels: Mapping[str, str], *, now: datetime, columns: int
) -> RenderableType:
    """One line per request; a terminal of few columns gets what tells most."""
    is_wide = columns >= WIDE_COLUMNS
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2 if is_wide else 1, 0, 0))
    for column in ("Ago", "Request", "Account", *(("Key",) if is_wide else ()), "Model"):
        table.add_column(column, overflow="fold" if column == "Request" else "ellipsis", no_wrap=column != "Request")
    table.add_column("Outcome", min_width=len("completed"))
    for column in (*(("First",) if is_wide else ()), "Took", "Tokens", *(("Cached",) if is_wide else ()), "Cost"):
        table.add_column(column, justify="right", no_wrap=True)
    for request in requests:
        timings, usage = request.timings, request.usage
        table.add_row(
            span((now - moment(request.started_at)).total_seconds()),
            request_id(request),
            labels.get(request.account, request.account) or Text("–", style="dim"),
            *((request.api_key_id or Text("–", style="dim"),) if is_wide else ()),
            request.model + (f" {request.reasoning_effort}" if request.reasoning_effort else ""),
            outcome_text(request),
            *((seconds_text(timings.first_output if timings.HasField("first_output") else None),) if is_wide else ()),
            seconds_text(timings.total if timings.HasField("total") else None),
            count_text(usage.total_tokens) if request.HasField("usage") else Text("–", style="dim"),
            *((count_text(usage.cached_input_tokens) if request.HasField("usage") else "",) if is_wide else ()),
            cost_text(request),
        )
    return table


def details_view(details: pb.RequestDetails, labels: Mapping[str, str]) -> RenderableType:
    """A request with all that is behind it."""
    request = details.request
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    usage = request.usage
    tier = request.actual_service_tier or request.service_tier
    for name, value in (
        ("Request", request_id(request)),
        ("Started", moment(request.started_at).isoformat(sep=" ", timespec="milliseconds")),
        ("Outcome", outcome_text(request)),
        ("Fault", f"{request.fault.code}: {request.fault.message}" if request.HasField("fault") else ""),
        ("Account", labels.get(request.account, request.account)),
        ("API key", request.api_key_id),
        ("Model", " ".join(filter(None, (request.model, request.reasoning_effort, tier)))),
        ("Asked for", request.requested_model if request.requested_model != request.model else ""),
        ("Way", f"{request.route} {request.transport}, status {request.status}"),
        ("Client", f"{request.user_agent} {request.client_ip}".strip()),
        ("Session", request.session_id),
        ("Response", request.response_id),
        ("Tokens", _tokens(usage) if request.HasField("usage") else "not told by upstream"),
        ("Cost", _cost(request)),
        ("Time", _phases(details.phases)),
    ):
        if value:
            facts.add_row(name, value)
    return Group(facts, "", attempts_table(details.attempts, labels))


def attempts_table(attempts: Iterable[pb.RequestAttempt], labels: Mapping[str, str]) -> RenderableType:
    """One line per attempt, with the choice that led to it."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    for column in ("Attempt", "Account", "Outcome", "Upstream", "Calls", "Chosen by", "Passed over"):
        table.add_column(column, overflow="fold")
    for attempt in attempts:
        decision = attempt.decision
        passed = [f"{count} {reason.replace('_', ' ')}" for reason, count in decision.passed_over_counts.items()]
        chosen = decision.strategy + (f", {decision.affinity}" if decision.affinity else "")
        table.add_row(
            str(attempt.attempt),
            labels.get(attempt.account, attempt.account),
            outcome_text(attempt),
            attempt.upstream_transport or "–",
            str(attempt.calls),
            f"{chosen} among {decision.eligible} of {decision.candidates}" if decision.candidates else chosen or "–",
            ", ".join(passed) or "–",
        )
    return table


def csv_row(request: pb.Request, labels: Mapping[str, str]) -> tuple[object, ...]:
    """The cells below CSV_HEAD."""
    used = request.usage if request.HasField("usage") else None
    fault = request.fault
    times = {field.name: value for field, value in request.timings.ListFields()}
    marks = ("leased", "dispatched", "first_byte", "first_output", "total")
    return (
        request_id(request),
        _iso(request.started_at),
        outcome_name(request.outcome),
        request.status,
        request.account.removeprefix("accounts/"),
        labels.get(request.account, ""),
        request.api_key_id,
        request.model,
        request.reasoning_effort,
        request.requested_model,
        request.service_tier,
        request.actual_service_tier,
        leases_pb2.WorkKind.Name(request.work).removeprefix("WORK_KIND_").lower(),
        request.route,
        request.transport,
        request.attempts,
        *((used.input_tokens, used.cached_input_tokens, used.output_tokens) if used else (None, None, None)),
        used.reasoning_tokens if used else None,
        usd(request.cost_micro_usd) if request.HasField("cost_micro_usd") else None,
        request.cost_source,
        *(_seconds(times[mark]) if mark in times else None for mark in marks),
        fault.code,
        leases_pb2.Blame.Name(fault.blame).removeprefix("BLAME_").lower() if request.HasField("fault") else "",
        fault.message,
        request.response_id,
        request.session_id,
        request.user_agent,
        request.client_ip,
        request.request_bytes,
        request.response_bytes,
    )


def request_id(request: pb.Request) -> str:
    """The id in a resource name."""
    return request.name.removeprefix("requests/")


def outcome_name(outcome: leases_pb2.Outcome.ValueType) -> str:
    """`completed` for OUTCOME_COMPLETED."""
    return leases_pb2.Outcome.Name(outcome).removeprefix("OUTCOME_").lower()


def outcome_text(ended: pb.Request | pb.RequestAttempt) -> Text:
    """How it ended, and why."""
    text = Text(outcome_name(ended.outcome), style=OUTCOME_STYLES.get(ended.outcome, "red"))
    return text.append(f" {ended.fault.code}", style="dim") if ended.HasField("fault") else text


def cost_text(request: pb.Request) -> Text:
    """Dollars; a dash where nobody knows."""
    return Text(f"${usd(request.cost_micro_usd)}") if request.HasField("cost_micro_usd") else Text("–", style="dim")


def usd(micro_usd: int) -> str:
    """Dollars with all six decimals but trailing zeros beyond the fourth."""
    whole = f"{micro_usd / MICRO:.6f}"
    return whole[:-2] if whole.endswith("00") else whole


def count_text(count: int) -> str:
    """`12.3k`, `4.5M`."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def seconds_text(duration: Duration | None) -> str:
    """`0.25 s`; a dash for what was not reached."""
    return "–" if duration is None else f"{_seconds(duration):.2f} s"


def _tokens(usage: leases_pb2.Usage) -> str:
    return (
        f"{usage.input_tokens} in ({usage.cached_input_tokens} cached), {usage.output_tokens} out"
        f" ({usage.reasoning_tokens} reasoning)"
    )


def _cost(request: pb.Request) -> str:
    source = request.cost_source.replace("_", " ")
    return f"${usd(request.cost_micro_usd)} ({source})" if request.HasField("cost_micro_usd") else source


def _phases(phases: pb.RequestPhases) -> str:
    parts = {field.name.replace("_", " "): seconds_text(value) for field, value in phases.ListFields()}
    total = parts.pop("total", "")
    return ", ".join([*([f"{total} in all"] if total else []), *(f"{name} {took}" for name, took in parts.items())])


def _seconds(duration: Duration) -> float:
    return duration.ToMicroseconds() / MICRO


def _iso(instant: Timestamp) -> str:
    return instant.ToDatetime(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
