"""Anchors and affinities of a single control replica, in its memory, bounded; the oldest go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.lease import Anchor
from codex_lb.kit.clock import Clock

ANCHORS_MAX = 500_000  # about 100 MB at the worst; some weeks of a busy team
AFFINITIES_MAX = 100_000
AFFINITY_TTL_S = 1800.0  # upstream's prompt cache forgets after about as long


class MemoryContinuities:
    """The Continuities port for one control replica."""

    def __init__(self, clock: Clock, *, anchors_max: int = ANCHORS_MAX, affinities_max: int = AFFINITIES_MAX) -> None:
        self._clock = clock
        self._anchors_max = anchors_max
        self._affinities_max = affinities_max
        self._owners: OrderedDict[bytes, AccountId] = OrderedDict()
        self._affinities: OrderedDict[bytes, tuple[AccountId, float]] = OrderedDict()

    def owners(self, digests: Sequence[bytes]) -> Mapping[bytes, AccountId]:
        """The owners of those anchors that are known."""
        held = self._owners
        return {digest: held[digest] for digest in digests if digest in held}

    def affinities(self, keys: Sequence[bytes]) -> Mapping[bytes, AccountId]:
        """The accounts of those keys that were used within the TTL."""
        since = self._clock.monotonic() - AFFINITY_TTL_S
        known: dict[bytes, AccountId] = {}
        for key in keys:
            account_id, used = self._affinities.get(key, (None, 0.0))
            if account_id is not None and used >= since:
                known[key] = account_id
        return known

    def bind(self, keys: Sequence[bytes], account_id: AccountId) -> None:
        """Rewrites the binding of every key: the conversation is where it was served last."""
        now = self._clock.monotonic()
        for key in keys:
            self._affinities[key] = (account_id, now)
            self._affinities.move_to_end(key)
        while len(self._affinities) > self._affinities_max:
            self._affinities.popitem(last=False)

    def remember(self, anchors: Sequence[Anchor], account_id: AccountId) -> None:
        """Keeps whose they are."""
        for anchor in anchors:
            self._owners[anchor.digest] = account_id
            self._owners.move_to_end(anchor.digest)
        while len(self._owners) > self._anchors_max:
            self._owners.popitem(last=False)

    def forget(self, account_id: AccountId) -> None:
        """Drops habits only: whose an anchor was stays true, and keeps it from being sent to anybody else."""
        for key in [key for key, (owner, _) in self._affinities.items() if owner == account_id]:
            del self._affinities[key]
