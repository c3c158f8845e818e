"""Alerts on their way: what is to be sent when, handed to a worker as tickets, tried again, given up at last."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from codex_lb.control.domain.alert import Alert, Delivery, DeliveryStage, Target, retry_after
from codex_lb.control.domain.alert_form import Address, Place, Post, post_of
from codex_lb.control.domain.refresh import Task, TicketKind
from codex_lb.control.errors import CredentialUnreadableError
from codex_lb.control.usecases.alert_secrets import open_address
from codex_lb.control.usecases.ports import Store
from codex_lb.control.usecases.vault_ports import Sealed, Vault
from codex_lb.kit.clock import Clock

WAITING_MAX = 1_000  # alerts on their way; beyond it new ones are stored, and sent after a restart

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of a try."""

    status: int  # 0: no answer
    problem: str = ""  # empty: it was taken
    is_final: bool = False  # another try would be answered alike


@dataclass(slots=True)
class OnItsWay:
    """A delivery with all that is needed to try it."""

    delivery: Delivery
    alert: Alert
    target: Target
    address: Address


class AlertDeliveries:
    """In memory what waits, in the store how far it is."""

    def __init__(self, store: Store, vault: Vault, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._waiting: dict[str, OnItsWay] = {}

    async def load(self) -> None:
        """What an earlier control did not get delivered."""
        async with self._store.begin(writing=False) as unit:
            waiting = await unit.alerts.waiting()
            targets = {target.target_id: (target, sealed) for target, sealed in await unit.alerts.targets()}
        for delivery, alert in waiting:
            if found := targets.get(delivery.target_id):
                target, sealed = found
                try:
                    self.add(delivery, alert, target, open_address(self._vault, target, sealed))
                except CredentialUnreadableError as error:
                    log.warning("an alert cannot be delivered", target=target.name, why=str(error))

    def add(self, delivery: Delivery, alert: Alert, target: Target, address: Address) -> None:
        """On its way from now on."""
        if len(self._waiting) < WAITING_MAX:
            self._waiting[delivery.delivery_id] = OnItsWay(delivery, alert, target, address)

    def forget_target(self, target_id: str) -> None:
        """Nothing more goes there."""
        self._waiting = {key: one for key, one in self._waiting.items() if one.target.target_id != target_id}

    def retarget(self, place: Place) -> None:
        """What is on its way to a target goes to where that is now."""
        for one in self._waiting.values():
            if one.target.target_id == place.target.target_id:
                one.target, one.address = place.target, place.address

    def due(self) -> Mapping[Task, datetime]:
        """Everything on its way, with the instant of its next try."""
        return {
            Task(TicketKind.ALERT, key): one.delivery.next_try_at
            for key, one in self._waiting.items()
            if one.delivery.next_try_at is not None
        }

    def post(self, delivery_id: str) -> Post | None:
        """What a worker is to send; None when it need not be sent any more."""
        one = self._waiting.get(delivery_id)
        return post_of(one.alert, one.target.kind, one.address, now=self._clock.now()) if one else None

    async def end(self, delivery_id: str, sent: Sent) -> datetime | None:
        """Takes in what came of a try; when the next one is due. Raises StoreUnavailableError."""
        one = self._waiting.get(delivery_id)
        if one is None:
            return None
        after = self._after(one.delivery, sent)
        async with self._store.begin(writing=True) as unit:
            await unit.alerts.save_delivery(after)
            targets = {target.target_id: (target, sealed) for target, sealed in await unit.alerts.targets()}
        one.delivery = after
        self._follow(one, targets)
        if after.stage is not DeliveryStage.WAITING:
            self._waiting.pop(delivery_id, None)
        if after.stage is DeliveryStage.DELIVERED:
            log.info("alert delivered", target=one.target.name, kind=one.alert.condition.kind.value)
        else:
            log.warning(
                "alert not delivered",
                target=one.target.name,
                kind=one.alert.condition.kind.value,
                tries=after.tries,
                is_given_up=after.stage is DeliveryStage.FAILED,
                why=sent.problem,
            )
        return after.next_try_at

    def _follow(self, one: OnItsWay, targets: Mapping[str, tuple[Target, Sealed]]) -> None:
        """Another control may have changed the target, or removed it."""
        found = targets.get(one.target.target_id)
        if found is None:
            self.forget_target(one.target.target_id)
        elif found[0] != one.target:
            with suppress(CredentialUnreadableError):  # then the next try goes to where it was
                self.retarget(Place(found[0], open_address(self._vault, *found)))

    def _after(self, delivery: Delivery, sent: Sent) -> Delivery:
        now = self._clock.now()
        tried = replace(delivery, tries=delivery.tries + 1, status=sent.status, problem=sent.problem)
        if not sent.problem:
            return replace(tried, stage=DeliveryStage.DELIVERED, next_try_at=None, ended_at=now)
        wait = None if sent.is_final else retry_after(tried.tries)
        if wait is None:
            return replace(tried, stage=DeliveryStage.FAILED, next_try_at=None, ended_at=now)
        return replace(tried, next_try_at=now + wait)
