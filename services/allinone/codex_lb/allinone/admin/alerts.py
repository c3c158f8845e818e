"""Alerts from the terminal: where they go, trying that out, and what became of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio
from google.protobuf.field_mask_pb2 import FieldMask
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from codex_lb.allinone.admin.actions import as_plain, print_json, with_admin
from codex_lb.allinone.admin.client import Admin
from codex_lb.allinone.admin.keys import ago
from codex_lb.allinone.admin.tables import ahead
from codex_lb.allinone.admin.where import Where
from codex_lb.allinone.failures import CommandError
from codex_lb.allinone.terminal import console
from codex_lb.api.admin.v1 import alert_service_pb2 as pb

COLLECTION = "alertTargets/"
TOLD_WITHIN_S = 20.0  # a worker asks once a second, and gives the target ten
ASKED_EVERY_S = 0.2
STAGES = {
    pb.ALERT_DELIVERY_STAGE_WAITING: ("on its way", "yellow"),
    pb.ALERT_DELIVERY_STAGE_DELIVERED: ("delivered", "green"),
    pb.ALERT_DELIVERY_STAGE_FAILED: ("given up", "red"),
}


@dataclass(frozen=True, slots=True)
class NewTarget:
    """A place as people describe it."""

    name: str
    form: str
    url: str
    secret: str | None
    chat_id: str
    only: Sequence[str]


@dataclass(frozen=True, slots=True)
class Change:
    """What `admin alerts set` changes; None: nothing."""

    name: str | None = None
    form: str | None = None
    url: str | None = None
    secret: str | None = None
    chat_id: str | None = None
    only: Sequence[str] | None = None


def list_alerts(where: Where, *, as_json: bool) -> None:
    """`admin alerts list`."""

    async def show(admin: Admin) -> None:
        found = (await admin.alerts.ListAlerts(pb.ListAlertsRequest())).alerts
        if as_json:
            print_json([as_plain(alert) for alert in found])
        elif found:
            known = {target.name: target.display_name for target in await _targets(admin)}
            console().print(alerts_table(found, known, now=datetime.now(UTC)))
        else:
            console().print("Nothing was worth an alert yet.")

    with_admin(where, show)


def list_targets(where: Where, *, as_json: bool) -> None:
    """`admin alerts targets`."""

    async def show(admin: Admin) -> None:
        found = await _targets(admin)
        if as_json:
            print_json([as_plain(target) for target in found])
        elif found:
            console().print(targets_table(found))
        else:
            console().print("Nobody is told: codex-lb admin alerts add NAME --form slack --url https://…")

    with_admin(where, show)


def add_target(where: Where, new: NewTarget) -> None:
    """`admin alerts add`."""
    url = given(new.url) or ""

    async def add(admin: Admin) -> None:
        target = await admin.alerts.CreateAlertTarget(
            pb.CreateAlertTargetRequest(
                display_name=new.name,
                kind=form_of(new.form),
                url=url,
                secret=os.environ.get("CODEX_LB_ALERT_SECRET", "") if new.secret is None else new.secret,
                chat_id=new.chat_id,
                wants=map(kind_of, new.only),
            )
        )
        console().print(f"{target.display_name}: alerts go to {target.host}")

    with_admin(where, add)


def change_target(where: Where, name: str, change: Change) -> None:
    """`admin alerts set`."""
    wanted, paths = wanted_of(change)

    async def send(admin: Admin) -> None:
        known = resolve(name, await _targets(admin))
        wanted.name, wanted.etag = known.name, known.etag
        request = pb.UpdateAlertTargetRequest(target=wanted, update_mask=FieldMask(paths=paths))
        target = await admin.alerts.UpdateAlertTarget(request)
        told = ", ".join(map(kind_words, target.wants)) or "everything"
        console().print(f"{target.display_name}: alerts go to {target.host}; told of: {told}")

    with_admin(where, send)


def wanted_of(change: Change) -> tuple[pb.AlertTarget, list[str]]:
    """The message, and the fields of it that count."""
    values: dict[str, object] = {
        "display_name": change.name,
        "kind": form_of(change.form) if change.form else None,
        "url": given(change.url),
        "secret": given(change.secret),
        "chat_id": change.chat_id,
        "wants": None if change.only is None else [kind_of(kind) for kind in change.only],
    }
    named = {field: value for field, value in values.items() if value is not None}
    return pb.AlertTarget(**named), list(named)  # type: ignore[arg-type]  # each in the type of its field


def given(value: str | None) -> str | None:
    """What was given as an option, or on standard input: there, no list of processes shows it."""
    return sys.stdin.readline().strip() if value == "-" else value


def form_of(form: str) -> pb.AlertTargetKind.ValueType:
    """ALERT_TARGET_KIND_SLACK for `slack`."""
    return pb.AlertTargetKind.Value(f"ALERT_TARGET_KIND_{form.upper()}")


def kind_of(kind: str) -> pb.AlertKind.ValueType:
    """ALERT_KIND_POOL_LOW for `pool-low`."""
    return pb.AlertKind.Value(f"ALERT_KIND_{kind.replace('-', '_').upper()}")


def test_target(where: Where, name: str) -> bool:
    """`admin alerts test`; whether it arrived."""
    arrived = False

    async def test(admin: Admin) -> None:
        nonlocal arrived
        target = resolve(name, await _targets(admin))
        sent = await admin.alerts.TestAlertTarget(pb.TestAlertTargetRequest(name=target.name))
        delivery = await _tried(admin, sent.name)
        arrived = delivery is not None and delivery.stage == pb.ALERT_DELIVERY_STAGE_DELIVERED
        if delivery is None:
            console().print(
                f"{target.display_name}: no usage-worker took it yet; codex-lb admin alerts list shows more"
            )
        else:
            console().print(Text(f"{target.display_name}: ").append(delivery_text(delivery, now=datetime.now(UTC))))

    with_admin(where, test)
    return arrived


def remove_target(where: Where, name: str) -> None:
    """`admin alerts remove`."""

    async def remove(admin: Admin) -> None:
        target = resolve(name, await _targets(admin))
        await admin.alerts.DeleteAlertTarget(pb.DeleteAlertTargetRequest(name=target.name))
        console().print(f"{target.display_name}: removed")

    with_admin(where, remove)


def resolve(given: str, targets: Iterable[pb.AlertTarget]) -> pb.AlertTarget:
    """The target that is called that. Raises CommandError."""
    found = [one for one in targets if given in (one.display_name, one.name, one.name.removeprefix(COLLECTION))]
    if not found:
        raise CommandError(f"There is no alert target {given}. `codex-lb admin alerts targets` shows all there are.")
    return found[0]


def alerts_table(alerts: Iterable[pb.Alert], targets: Mapping[str, str], *, now: datetime) -> Table:
    """Two lines per alert, and one per target it goes to."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    for column in ("When", "Alert", "State", "Told"):
        table.add_column(column, overflow="fold")
    for alert in alerts:
        told = Text("\n").join(
            Text(f"{targets.get(one.target, one.target)} ").append(delivery_text(one, now=now))
            for one in alert.deliveries
        )
        is_over = alert.HasField("ended_at")
        table.add_row(
            ago(alert.raised_at, now=now),
            Text(alert.title).append(f"\n{alert.text}", style="dim"),
            Text("over", style="dim") if is_over else Text("lasts", style="yellow"),
            told if alert.deliveries else Text("nobody", style="dim"),
        )
    return table


def targets_table(targets: Iterable[pb.AlertTarget]) -> Table:
    """One line per place."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    for column in ("Target", "Form", "Host", "Told of", "Id"):
        table.add_column(column, overflow="fold")
    for target in targets:
        table.add_row(
            target.display_name,
            pb.AlertTargetKind.Name(target.kind).removeprefix("ALERT_TARGET_KIND_").lower(),
            target.host,
            ", ".join(map(kind_words, target.wants)) or "everything",
            Text(target.name.removeprefix(COLLECTION), style="dim"),
        )
    return table


def delivery_text(delivery: pb.AlertDelivery, *, now: datetime) -> Text:
    """How far it is, and what was wrong."""
    words, style = STAGES.get(delivery.stage, ("?", ""))
    text = Text(words, style=style)
    if delivery.problem:
        text.append(
            f" after {delivery.tries} {'try' if delivery.tries == 1 else 'tries'}: {delivery.problem}", style="dim"
        )
    if delivery.HasField("next_try_at") and delivery.tries:
        text.append(f", again {ahead(delivery.next_try_at, now=now)}", style="dim")
    return text


def kind_words(kind: pb.AlertKind.ValueType) -> str:
    """`pool low` for ALERT_KIND_POOL_LOW."""
    return pb.AlertKind.Name(kind).removeprefix("ALERT_KIND_").lower().replace("_", " ")


async def _targets(admin: Admin) -> Sequence[pb.AlertTarget]:
    return (await admin.alerts.ListAlertTargets(pb.ListAlertTargetsRequest())).targets


async def _tried(admin: Admin, name: str) -> pb.AlertDelivery | None:
    """The delivery of a test once it was tried."""
    with anyio.move_on_after(TOLD_WITHIN_S):
        while True:
            found = (await admin.alerts.ListAlerts(pb.ListAlertsRequest())).alerts
            for delivery in (one for alert in found if alert.name == name for one in alert.deliveries):
                if delivery.tries:
                    return delivery
            await anyio.sleep(ASKED_EVERY_S)
    return None
