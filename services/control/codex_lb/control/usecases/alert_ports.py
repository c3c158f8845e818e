"""What alerts need from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from codex_lb.control.domain.alert import Alert, Delivery, Recent, Target
from codex_lb.control.usecases.vault_ports import Sealed


class Alerts(Protocol):
    """Targets, alerts, and alerts on their way to targets."""

    async def add_target(self, target: Target, sealed: Sealed) -> None:
        """Raises StoreConflictError when the name is taken."""
        ...

    async def save_target(self, target: Target, sealed: Sealed | None) -> bool:
        """Stores a target's next revision, with another address if there is one; False when the stored one is not the
        revision before it.
        """
        ...

    async def delete_target(self, target_id: str) -> bool:
        """With all that was on its way to it; False when there is none."""
        ...

    async def targets(self) -> Sequence[tuple[Target, Sealed]]:
        """All, oldest first."""
        ...

    async def raise_(self, alert: Alert, deliveries: Sequence[Delivery], *, is_lasting: bool) -> bool:
        """Stores an alert with its deliveries; False when another replica has raised it and it still lasts."""
        ...

    async def end(self, alert_id: str, *, at: datetime) -> None:
        """It is over."""
        ...

    async def open(self) -> Sequence[Alert]:
        """Those that last."""
        ...

    async def told_since(self, since: datetime) -> Mapping[str, datetime]:
        """When each key was last told."""
        ...

    async def recent(self, *, alerts_max: int) -> Sequence[tuple[Alert, Sequence[Delivery]]]:
        """The newest, with how far each is on its way."""
        ...

    async def waiting(self) -> Sequence[tuple[Delivery, Alert]]:
        """What is not delivered yet, and not given up."""
        ...

    async def save_delivery(self, delivery: Delivery) -> None:
        """How far it is now."""
        ...

    async def purge(self, *, before: datetime) -> None:
        """Forgets what was over before then."""
        ...

    async def turns_since(self, since: datetime) -> Recent:
        """Turns that started since then, and how many of them failed."""
        ...
