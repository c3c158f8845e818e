"""AlertService: where alerts go, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import grpc.aio

from codex_lb.api.admin.v1 import alert_service_pb2 as pb
from codex_lb.api.admin.v1 import alert_service_pb2_grpc
from codex_lb.control.admin.api_keys import COLLECTION as API_KEYS
from codex_lb.control.admin.permissions import ruled
from codex_lb.control.admin.request_log import account_name
from codex_lb.control.domain.alert import Alert, AlertKind, Condition, Delivery, DeliveryStage, Target, TargetKind
from codex_lb.control.domain.alert_form import Address, Place
from codex_lb.control.errors import InvalidResourceNameError, InvalidUpdateError
from codex_lb.control.rpcs.instants import wire_instant
from codex_lb.control.usecases.alert_targets import AlertTargets
from codex_lb.control.usecases.raise_alerts import ViewAlerts

SERVICE = pb.DESCRIPTOR.services_by_name["AlertService"]
TARGETS = "alertTargets/"

KIND = {
    AlertKind.REAUTH_REQUIRED: pb.ALERT_KIND_REAUTH_REQUIRED,
    AlertKind.ACCOUNT_CLOSED: pb.ALERT_KIND_ACCOUNT_CLOSED,
    AlertKind.POOL_LOW: pb.ALERT_KIND_POOL_LOW,
    AlertKind.POOL_EXHAUSTED: pb.ALERT_KIND_POOL_EXHAUSTED,
    AlertKind.ERROR_BURST: pb.ALERT_KIND_ERROR_BURST,
    AlertKind.KEY_LIMIT_NEAR: pb.ALERT_KIND_KEY_LIMIT_NEAR,
    AlertKind.KEY_LIMIT_REACHED: pb.ALERT_KIND_KEY_LIMIT_REACHED,
    AlertKind.TEST: pb.ALERT_KIND_TEST,
}
KIND_READ = {number: kind for kind, number in KIND.items()}
TARGET_KIND = {
    TargetKind.WEBHOOK: pb.ALERT_TARGET_KIND_WEBHOOK,
    TargetKind.SLACK: pb.ALERT_TARGET_KIND_SLACK,
    TargetKind.DISCORD: pb.ALERT_TARGET_KIND_DISCORD,
    TargetKind.TELEGRAM: pb.ALERT_TARGET_KIND_TELEGRAM,
}
TARGET_KIND_READ = {number: kind for kind, number in TARGET_KIND.items()}
STAGE = {
    DeliveryStage.WAITING: pb.ALERT_DELIVERY_STAGE_WAITING,
    DeliveryStage.DELIVERED: pb.ALERT_DELIVERY_STAGE_DELIVERED,
    DeliveryStage.FAILED: pb.ALERT_DELIVERY_STAGE_FAILED,
}

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"


class AlertRpc(alert_service_pb2_grpc.AlertServiceServicer):
    """The face of alerts. No address is ever told."""

    def __init__(self, targets: AlertTargets, view: ViewAlerts) -> None:
        self._targets = targets
        self._view = view

    @ruled(SERVICE)
    async def CreateAlertTarget(self, request: pb.CreateAlertTargetRequest, _: Context) -> pb.AlertTarget:
        """The new place."""
        kind = TARGET_KIND_READ.get(request.kind)
        if kind is None:
            raise InvalidUpdateError("kind must be set.")
        wants = [KIND_READ[number] for number in request.wants if number in KIND_READ]
        address = Address(request.url, request.secret, request.chat_id)
        return target(await self._targets.add(request.display_name, kind, address, wants))

    @ruled(SERVICE)
    async def ListAlertTargets(self, _request: pb.ListAlertTargetsRequest, _: Context) -> pb.ListAlertTargetsResponse:
        """All places."""
        return pb.ListAlertTargetsResponse(targets=map(target, await self._targets.list()))

    @ruled(SERVICE)
    async def UpdateAlertTarget(self, request: pb.UpdateAlertTargetRequest, _: Context) -> pb.AlertTarget:
        """The place, changed."""
        wanted, paths = request.target, request.update_mask.paths
        changed = await self._targets.update(
            target_id(wanted.name), lambda known: updated(known, wanted, paths), etag=wanted.etag
        )
        return target(changed)

    @ruled(SERVICE)
    async def DeleteAlertTarget(self, request: pb.DeleteAlertTargetRequest, _: Context) -> pb.DeleteAlertTargetResponse:
        """Nothing is left of it."""
        await self._targets.delete(target_id(request.name))
        return pb.DeleteAlertTargetResponse()

    @ruled(SERVICE)
    async def TestAlertTarget(self, request: pb.TestAlertTargetRequest, _: Context) -> pb.Alert:
        """The alert that is on its way."""
        return alert(await self._targets.test(target_id(request.name)), ())

    @ruled(SERVICE)
    async def ListAlerts(self, _request: pb.ListAlertsRequest, _: Context) -> pb.ListAlertsResponse:
        """The newest."""
        return pb.ListAlertsResponse(alerts=[alert(*one) for one in await self._view.recent()])


def target_id(name: str) -> str:
    """The id in a resource name. Raises InvalidResourceNameError."""
    found = name.removeprefix(TARGETS)
    if not name.startswith(TARGETS) or not found:
        raise InvalidResourceNameError("name must have the form alertTargets/{target_id}.")
    return found


def updated(known: Place, wanted: pb.AlertTarget, paths: Iterable[str]) -> Place:
    """The place with the fields of these paths as wanted. Raises InvalidUpdateError."""
    for path in paths:
        take = FIELDS.get(path)
        if take is None:
            raise InvalidUpdateError(f"update_mask: {path[:100]} is no field that can be changed.")
        known = take(known, wanted)
    return known


def _kind(place: Place, wanted: pb.AlertTarget) -> Place:
    if wanted.kind not in TARGET_KIND_READ:
        raise InvalidUpdateError("target.kind must be set.")
    return replace(place, target=replace(place.target, kind=TARGET_KIND_READ[wanted.kind]))


def _wants(place: Place, wanted: pb.AlertTarget) -> Place:
    wants = tuple(KIND_READ[number] for number in wanted.wants if number in KIND_READ)
    return replace(place, target=replace(place.target, wants=wants))


# What can be changed of a target, and how it is taken from a message. What is secret of it is taken in and never told.
FIELDS: Mapping[str, Callable[[Place, pb.AlertTarget], Place]] = {
    "display_name": lambda place, wanted: replace(place, target=replace(place.target, name=wanted.display_name)),
    "kind": _kind,
    "wants": _wants,
    "url": lambda place, wanted: replace(place, address=replace(place.address, url=wanted.url)),
    "secret": lambda place, wanted: replace(place, address=replace(place.address, secret=wanted.secret)),
    "chat_id": lambda place, wanted: replace(place, address=replace(place.address, chat_id=wanted.chat_id)),
}


def target(one: Target) -> pb.AlertTarget:
    """A place."""
    return pb.AlertTarget(
        name=f"{TARGETS}{one.target_id}",
        display_name=one.name,
        kind=TARGET_KIND[one.kind],
        host=one.host,
        wants=[KIND[kind] for kind in one.wants],
        created_at=wire_instant(one.created_at),
        etag=one.etag,
    )


def alert(one: Alert, deliveries: Sequence[Delivery]) -> pb.Alert:
    """An alert, and how far it is on its way."""
    condition = one.condition
    return pb.Alert(
        name=f"alerts/{one.alert_id}",
        kind=KIND[condition.kind],
        subject=subject(condition),
        title=condition.title,
        text=condition.text,
        raised_at=wire_instant(one.raised_at),
        ended_at=wire_instant(one.ended_at),
        recovers_at=wire_instant(condition.recovers_at),
        deliveries=map(delivery, deliveries),
    )


def subject(condition: Condition) -> str:
    """What an alert is about, as a resource name; empty for the pool."""
    match condition.kind:
        case AlertKind.TEST:
            return f"{TARGETS}{condition.subject}"
        case AlertKind.KEY_LIMIT_NEAR | AlertKind.KEY_LIMIT_REACHED:
            return f"{API_KEYS}{condition.subject.partition(' ')[0]}"
        case _:
            return account_name(condition.subject)


def delivery(one: Delivery) -> pb.AlertDelivery:
    """How far an alert is on its way to a place."""
    return pb.AlertDelivery(
        target=f"{TARGETS}{one.target_id}",
        stage=STAGE[one.stage],
        tries=one.tries,
        next_try_at=wire_instant(one.next_try_at),
        status=one.status,
        problem=one.problem,
    )
