"""Anchors and affinities of a single control replica, in its memory, bounded; the oldest go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from codex_lb.control.coordination.failures import Failures
from codex_lb.control.domain.continuity import Affinity, Failure
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.lease import Anchor
from codex_lb.kit.clock import Clock

ANCHORS_MAX = 500_000  # about 100 MB at the worst; some weeks of a busy team
AFFINITIES_MAX = 100_000  # about 40 MB; half an hour at 50 turns a second
AFFINITY_TTL_S = 1800.0  # upstream's prompt cache forgets after about as long


class MemoryContinuities:
    """The Continuities port for one control replica."""

    def __init__(
        self,
        clock: Clock,
        *,
        anchors_max: int = ANCHORS_MAX,
        affinities_max: int = AFFINITIES_MAX,
        affinity_ttl_s: float = AFFINITY_TTL_S,
    ) -> None:
        self._clock = clock
        self._anchors_max = anchors_max
        self._affinities_max = affinities_max
        self.affinity_ttl = timedelta(seconds=affinity_ttl_s)
        self._owners: OrderedDict[bytes, AccountId] = OrderedDict()
        self._affinities: OrderedDict[bytes, Affinity] = OrderedDict()  # the one used longest ago first
        self._failures = Failures(clock)

    async def owners(self, digests: Sequence[bytes]) -> Mapping[bytes, AccountId]:
        """The owners of those anchors that are known. Asking keeps them: a conversation that goes on needs them again."""
        known: dict[bytes, AccountId] = {}
        for digest in digests:
            owner = self._owners.get(digest)
            if owner is not None:
                known[digest] = owner
                self._owners.move_to_end(digest)
        return known

    async def affinities(self, keys: Sequence[bytes]) -> Mapping[bytes, AccountId]:
        """The accounts of those keys that were used within the TTL."""
        since = self._clock.now() - self.affinity_ttl
        found = ((key, self._affinities.get(key)) for key in keys)
        return {key: held.account_id for key, held in found if held is not None and held.used_at >= since}

    async def bind(self, keys: Sequence[bytes], account_id: AccountId) -> None:
        """Rewrites the binding of every key: the conversation is where it was served last."""
        now = self._clock.now()
        for key in keys:
            held = self._affinities.get(key)
            stayed = held is not None and held.account_id == account_id
            self._affinities[key] = Affinity(key, account_id, held.bound_at if held and stayed else now, now)
            self._affinities.move_to_end(key)
        self._forget_old(now)

    async def habits(self) -> Sequence[Affinity]:
        """Every affinity that still counts, the last used first."""
        self._forget_old(self._clock.now())
        return list(reversed(self._affinities.values()))

    async def unbind(self, keys: Iterable[bytes]) -> int:
        """Drops these; how many of them there were."""
        return sum(self._affinities.pop(key, None) is not None for key in keys)

    async def note_failure(self, failure: Failure) -> None:
        """Keeps on which accounts a conversation failed, for a minute, and which account fails, for some seconds."""
        self._failures.note(failure)

    async def failed_lately(self, keys: Sequence[bytes]) -> tuple[AccountId, ...]:
        """The accounts on which it failed within that minute, the latest last."""
        return self._failures.of_conversation(keys)

    async def failing(self) -> tuple[AccountId, ...]:
        """The accounts that failed any turn within those seconds, the latest last."""
        return self._failures.of_anybody()

    async def remember(self, anchors: Sequence[Anchor], account_id: AccountId) -> None:
        """Keeps whose they are."""
        self.recall(anchors, account_id)

    def recall(self, anchors: Sequence[Anchor], account_id: AccountId) -> None:
        """Keeps whose they were before."""
        for anchor in anchors:
            self._owners[anchor.digest] = account_id
            self._owners.move_to_end(anchor.digest)
        while len(self._owners) > self._anchors_max:
            self._owners.popitem(last=False)

    def _forget_old(self, now: datetime) -> None:
        while self._affinities:
            oldest = next(iter(self._affinities.values()))
            if len(self._affinities) <= self._affinities_max and oldest.used_at >= now - self.affinity_ttl:
                return
            self._affinities.popitem(last=False)
