"""Where alerts go: adding, changing and removing targets, and telling all that want to know."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import structlog

from codex_lb.control.domain.alert import Alert, AlertKind, Condition, Delivery, Target, TargetKind
from codex_lb.control.domain.alert_form import Address, Place, checked_address
from codex_lb.control.errors import (
    AlertTargetNotFoundError,
    CredentialUnreadableError,
    InvalidUpdateError,
    StoreConflictError,
)
from codex_lb.control.usecases.alert_deliveries import AlertDeliveries
from codex_lb.control.usecases.alert_secrets import open_address, seal_address
from codex_lb.control.usecases.ports import Store
from codex_lb.control.usecases.vault_ports import Vault
from codex_lb.kit.clock import Clock

TARGETS_MAX = 50
NAME_CHARS_MAX = 60

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class AlertTargets:
    """The verbs about targets. Each may raise StoreUnavailableError."""

    def __init__(
        self, store: Store, vault: Vault, deliveries: AlertDeliveries, clock: Clock, *, new_id: Callable[[str], str]
    ) -> None:
        self._store = store
        self._vault = vault
        self._deliveries = deliveries
        self._clock = clock
        self._new_id = new_id

    async def add(self, name: str, kind: TargetKind, address: Address, wants: Collection[AlertKind]) -> Target:
        """Raises InvalidUpdateError with the field's name, and StoreConflictError when the name is taken."""
        blank = Target(self._new_id("alt"), name, kind, "", tuple(wants), self._clock.now())
        target = _checked(Place(blank, address))
        async with self._store.begin(writing=True) as unit:
            if len(await unit.alerts.targets()) >= TARGETS_MAX:
                raise InvalidUpdateError(f"there may be {TARGETS_MAX} alert targets.")
            await unit.alerts.add_target(target, seal_address(self._vault, target, address))
        return target

    async def update(self, target_id: str, change: Callable[[Place], Place], *, etag: str = "") -> Target:
        """What is on its way goes to where the target is now. Raises AlertTargetNotFoundError, StoreConflictError for an
        etag that is old or a name that is taken, CredentialUnreadableError, and InvalidUpdateError with the field's name.
        """
        async with self._store.begin(writing=True) as unit:
            stored = {target.target_id: (target, sealed) for target, sealed in await unit.alerts.targets()}
            if target_id not in stored:
                raise _unknown(target_id)
            known, sealed = stored[target_id]
            if etag and etag != known.etag:
                raise StoreConflictError("The alert target was changed meanwhile. Look at it again.")
            before = Place(known, open_address(self._vault, known, sealed))
            after = change(before)
            if after.target.kind is not known.kind and after.address.url == before.address.url:
                raise InvalidUpdateError("kind can be changed only together with url.")
            target = replace(_checked(after), revision=known.revision + 1)
            if any(other.name == target.name for other, _ in stored.values() if other.target_id != target_id):
                raise StoreConflictError("an alert target has that name already")
            is_moved = after.address != before.address
            anew = seal_address(self._vault, target, after.address) if is_moved else None
            if not await unit.alerts.save_target(target, anew):
                raise StoreConflictError("The alert target was changed by another control meanwhile. Look at it again.")
        self._deliveries.retarget(Place(target, after.address))
        return target

    async def list(self) -> Sequence[Target]:
        """All, oldest first."""
        async with self._store.begin(writing=False) as unit:
            return [target for target, _ in await unit.alerts.targets()]

    async def delete(self, target_id: str) -> None:
        """Raises AlertTargetNotFoundError."""
        async with self._store.begin(writing=True) as unit:
            was_there = await unit.alerts.delete_target(target_id)
        self._deliveries.forget_target(target_id)
        if not was_there:
            raise _unknown(target_id)

    async def test(self, target_id: str) -> Alert:
        """Sends an alert that says nothing but that it arrived. Raises AlertTargetNotFoundError."""
        condition = Condition(AlertKind.TEST, target_id, "codex-lb can reach you", "Alerts of the pool will come here.")
        alert = await self.tell(condition, is_lasting=False, only=target_id)
        if alert is None:
            raise _unknown(target_id)
        return alert

    async def tell(self, condition: Condition, *, is_lasting: bool, only: str | None = None) -> Alert | None:
        """Stores an alert and has it delivered; None when it is told already, or nobody is called that."""
        now = self._clock.now()
        alert = Alert(self._new_id("alert"), condition, now)
        async with self._store.begin(writing=True) as unit:
            targets = await unit.alerts.targets()
            meant = [(t, s) for t, s in targets if (t.target_id == only if only else t.is_for(condition.kind))]
            if only and not meant:
                return None
            sent = [
                (Delivery(self._new_id("del"), alert.alert_id, target.target_id, next_try_at=now), target, sealed)
                for target, sealed in meant
            ]
            if not await unit.alerts.raise_(alert, [delivery for delivery, _, _ in sent], is_lasting=is_lasting):
                return None
        for delivery, target, sealed in sent:
            try:
                self._deliveries.add(delivery, alert, target, open_address(self._vault, target, sealed))
            except CredentialUnreadableError as error:
                log.warning("an alert cannot be delivered", target=target.name, why=str(error))
        log.warning("alert", kind=condition.kind.value, subject=condition.subject, title=condition.title)
        return alert


def _checked(place: Place) -> Target:
    """The target as it is kept. Raises InvalidUpdateError."""
    target, name = place.target, place.target.name.strip()
    if not 1 <= len(name) <= NAME_CHARS_MAX or not name.isprintable():
        raise InvalidUpdateError(f"display_name must have 1 to {NAME_CHARS_MAX} printable characters.")
    host = checked_address(target.kind, place.address)
    return replace(target, name=name, host=host, wants=tuple(sorted(set(target.wants))))


def _unknown(target_id: str) -> AlertTargetNotFoundError:
    return AlertTargetNotFoundError(f"There is no alert target {target_id!r}.")
