"""Why an account served, and what another strategy would have done, from the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from codex_lb.allinone.admin.actions import as_plain, print_json, with_admin
from codex_lb.allinone.admin.client import Admin
from codex_lb.allinone.admin.names import label_of, resolve
from codex_lb.allinone.admin.settings import FIELDS, value_of
from codex_lb.allinone.admin.tables import moment, words
from codex_lb.allinone.admin.where import Where
from codex_lb.allinone.terminal import console
from codex_lb.api.admin.v1 import decision_service_pb2 as pb
from codex_lb.api.admin.v1 import settings_service_pb2 as settings_pb

SIMULATED_WITHIN_S = 60.0  # twenty thousand leases take some seconds
TIES = {  # what the record says of a conversation -> what a person reads
    "affinity": "its conversation was there last",
    "held_open": "it holds the conversation's connection, or a state of it that the client named",
    "anchor:reasoning": "it can read the conversation's thoughts",
    "anchor:compaction": "only it can read the conversation's compacted part",
    "anchor:file": "only it has the file",
}


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What to replay, and how."""

    strategy: str
    hours: float
    account: str | None
    prefer_earlier_reset: bool | None


def explain(where: Where, request_id: str, *, as_json: bool) -> None:
    """`admin explain`."""

    async def show(admin: Admin) -> None:
        found = await admin.decisions.GetExplanation(pb.GetExplanationRequest(turn_id=request_id))
        if as_json:
            print_json(as_plain(found))
            return
        labels = {account.name: label_of(account) for account in await admin.all_accounts()}
        console().print(explanation_view(found, labels))

    with_admin(where, show)


def simulate(where: Where, what_if: WhatIf, *, as_json: bool) -> None:
    """`admin simulate`."""
    strategy = settings_pb.RoutingStrategy.Value(str(value_of(FIELDS["routing_strategy"], what_if.strategy)))

    async def show(admin: Admin) -> None:
        accounts = await admin.all_accounts()
        request = pb.GetSimulationRequest(
            strategy=strategy,
            prefer_earlier_reset=what_if.prefer_earlier_reset,
            single_account=resolve(what_if.account, accounts).name if what_if.account else "",
        )
        request.start_time.FromDatetime(datetime.now(UTC) - timedelta(hours=what_if.hours))
        found = await admin.decisions.GetSimulation(request, timeout=SIMULATED_WITHIN_S)
        if as_json:
            print_json(as_plain(found))
        else:
            console().print(simulation_view(found, {account.name: label_of(account) for account in accounts}))

    with_admin(where, show)


def explanation_view(found: pb.Explanation, labels: Mapping[str, str]) -> RenderableType:
    """A turn as a short story."""
    parts: list[RenderableType] = [Text(f"{found.turn_id}  {found.model}  {words(found.outcome)}", style="bold")]
    for number, attempt in enumerate(found.attempts, start=1):
        parts.append(Text())
        title = Text(f"{number}. {labels.get(attempt.account, attempt.account)}", style="bold")
        parts.append(title.append(f"  {clock(attempt.granted_at)} to {clock(attempt.ended_at)}", style="dim"))
        parts.append(Text(f"   {why(attempt.decision)}"))
        parts.append(Text(f"   ended: {ending(attempt)}", style="" if attempt.outcome == "completed" else "yellow"))
        parts += passed_over(attempt.decision, labels)
    if found.HasField("refusal"):
        parts += [Text(), Text("No lease" if not found.attempts else "No further lease", style="bold red")]
        parts.append(Text(f"   {why(found.refusal)}"))
        parts += passed_over(found.refusal, labels)
    return Group(*parts)


def why(decision: pb.DecisionRecord) -> str:
    """How the choice came about, in a sentence."""
    among = f"{decision.eligible} of {decision.candidates} accounts could serve"
    if decision.affinity:
        reason = f"chosen because {TIES.get(decision.affinity, words(decision.affinity))}; {among}"
    elif decision.eligible:
        reason = f"chosen by {decision.strategy}; {among}"
    else:
        reason = among
    waited_s = decision.waited.ToTimedelta().total_seconds()
    return f"{reason}; waited {waited_s:.2f} s at place {decision.position}" if decision.position else reason


def ending(attempt: pb.ExplainedAttempt) -> str:
    """How a lease ended."""
    if not attempt.fault_code:
        return words(attempt.outcome)
    return f"{words(attempt.outcome)}, {attempt.fault_code} (blamed on: {words(attempt.fault_blame)})"


def passed_over(decision: pb.DecisionRecord, labels: Mapping[str, str]) -> list[RenderableType]:
    """Who was passed over for what: the first few by name, all by number."""
    if not decision.passed_over_counts:
        return []
    counts = ", ".join(f"{n} {words(reason)}" for reason, n in sorted(decision.passed_over_counts.items()))
    lines: list[RenderableType] = [Text(f"   passed over: {counts}", style="dim")]
    for passed in decision.passed_over:
        until = f" until {clock(passed.until)}" if passed.HasField("until") else ""
        lines.append(
            Text(f"     {labels.get(passed.account, passed.account)}: {words(passed.reason)}{until}", style="dim")
        )
    return lines


def simulation_view(found: pb.Simulation, labels: Mapping[str, str]) -> RenderableType:
    """What happened beside what would have."""
    if not found.leases:
        return Text("Nothing was recorded in that time.")
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    table.add_column("Account")
    for column in ("Leases", "would have had", "Most at once", "would have been"):
        table.add_column(column, justify="right")
    for account in found.accounts:
        numbers = (account.leases, account.leases_simulated, account.busiest, account.busiest_simulated)
        table.add_row(labels.get(account.account, account.account), *map(str, numbers))
    notes = [
        f"{found.leases} leases replayed; {found.tied} went where their conversation was, whatever the strategy.",
        "How full windows were is taken as it was seen; what the other strategy would have used is not known.",
    ]
    if found.unserved:
        notes.insert(1, f"{found.unserved} would have found every account busy at that moment.")
    if found.left_out:
        notes.insert(1, f"{found.left_out} older leases of that time were left out.")
    return Group(table, *(Text(note, style="dim") for note in notes))


def clock(instant: Timestamp) -> str:
    """A moment as people read it, in their own time zone."""
    return moment(instant).astimezone().strftime("%Y-%m-%d %H:%M:%S")
