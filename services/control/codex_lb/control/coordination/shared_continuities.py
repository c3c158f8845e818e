"""Anchors and affinities that several controls know: each keeps all of them in memory, and tells the others its own.

Asked for with every turn and changed with every turn, they are where the question is asked; what is told late costs a
conversation its prompt cache at the worst, for anchors are in the database too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from codex_lb.control.coordination.continuities import (
    AFFINITIES_MAX,
    AFFINITY_TTL_S,
    ANCHORS_MAX,
    MemoryContinuities,
)
from codex_lb.control.domain.continuity import Failure
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.lease import Anchor
from codex_lb.control.usecases.event_ports import Bound, Events, Failed, Remembered, Unbound
from codex_lb.kit.clock import Clock


class SharedContinuities(MemoryContinuities):
    """The Continuities port for several control replicas."""

    def __init__(
        self,
        clock: Clock,
        events: Events,
        *,
        anchors_max: int = ANCHORS_MAX,
        affinities_max: int = AFFINITIES_MAX,
        affinity_ttl_s: float = AFFINITY_TTL_S,
    ) -> None:
        super().__init__(clock, anchors_max=anchors_max, affinities_max=affinities_max, affinity_ttl_s=affinity_ttl_s)
        self._events = events

    async def bind(self, keys: Sequence[bytes], account_id: AccountId) -> None:
        """Rewrites the binding of every key, everywhere."""
        await super().bind(keys, account_id)
        self._events.publish(Bound(tuple(keys), account_id))

    async def unbind(self, keys: Iterable[bytes]) -> int:
        """Drops these, everywhere; how many of them there were here."""
        dropped = tuple(keys)
        self._events.publish(Unbound(dropped))
        return await super().unbind(dropped)

    async def remember(self, anchors: Sequence[Anchor], account_id: AccountId) -> None:
        """Keeps whose they are, everywhere."""
        self.recall(anchors, account_id)
        if anchors:
            self._events.publish(Remembered(tuple(anchors), account_id))

    async def note_failure(self, failure: Failure) -> None:
        """Keeps it everywhere: whoever tries again may ask another control."""
        await super().note_failure(failure)
        self._events.publish(Failed(failure))

    async def take_in(self, event: Bound | Unbound | Remembered | Failed) -> None:
        """What another control told."""
        match event:
            case Bound(keys, account_id):
                await super().bind(keys, account_id)
            case Unbound(keys):
                await super().unbind(keys)
            case Failed(failure):
                await super().note_failure(failure)
            case Remembered(anchors, account_id):
                self.recall(anchors, account_id)
