"""Whose a turn is: what the anchors and affinities it names say about the account that should serve it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.lease import Anchor, AnchorKind, ContinuityClass, Wanted

AVOIDED_MAX = 8  # accounts that one conversation keeps away from; and of those that fail, the latest, taken back singly
NOBODY = AccountId("")
# State without which the turn means nothing: only its owner will do. Reasoning may be left out, at the price of thought.
BINDING = frozenset({AnchorKind.COMPACTION, AnchorKind.FILE})


class AffinityKind(StrEnum):
    """What a conversation is known by; a key begins with its kind's first letter."""

    SESSION = "session"
    CACHE_KEY = "cache_key"
    PREFIX = "prefix"


@dataclass(frozen=True, slots=True)
class Affinity:
    """The habit of a conversation to be served by an account."""

    key: bytes
    account_id: AccountId
    bound_at: datetime  # since when it is this account
    used_at: datetime

    @property
    def kind(self) -> AffinityKind | None:
        """None for keys of another version's gateways."""
        return KIND_OF_LETTER.get(self.key[:1])


KIND_OF_LETTER = {kind[0].encode(): kind for kind in AffinityKind}


class Failure(Struct, frozen=True):
    """Upstream failed a turn on an account."""

    keys: tuple[bytes, ...]  # of its conversation; none where nobody knows it
    account_id: AccountId
    ago_s: float = 0.0  # when the attempt ended
    lasted_s: float = 0.0


class Claim(Struct, frozen=True):
    """What a turn asks of selection, and why."""

    preferred: AccountId | None
    is_bound: bool
    is_worth_waiting: bool  # for a slot of the preferred account, a moment, before another one is taken
    reason: str  # for the decision record; empty when nothing ties the turn
    avoided: tuple[AccountId, ...] = ()  # where upstream just failed the conversation, the latest last
    unsteady: tuple[AccountId, ...] = ()  # where it failed anybody within seconds, if that concerns this one

    @property
    def is_hurt(self) -> bool:
        """Whether there are accounts to keep away from."""
        return bool(self.avoided or self.unsteady)

    def cautions(self) -> Iterator[Mapping[AccountId, str]]:
        """What to keep away from and why, while anybody else can serve; the most cautious first.

        Whoever failed longest ago is taken back first, whosever turn it was, and last where the conversation failed last.
        """
        why = dict.fromkeys(self.unsteady, "failing") | dict.fromkeys(self.avoided, "failed_lately")
        last = self.avoided[-1:]
        longer_ago = [account_id for account_id in self.avoided if account_id not in self.unsteady]
        by_end = [*(a for a in (*longer_ago, *self.unsteady) if a not in last), *last]
        for n in range(len(by_end)):
            if n == 0 or len(by_end) - n <= AVOIDED_MAX:  # where many fail, those that did before are all alike
                yield {account_id: why[account_id] for account_id in by_end[n:]}


FREE = Claim(None, is_bound=False, is_worth_waiting=False, reason="")


def claim(
    wanted: Wanted,
    owners: Mapping[bytes, AccountId],
    affinities: Mapping[bytes, AccountId],
    failed: tuple[AccountId, ...] = (),
    failing: tuple[AccountId, ...] = (),
) -> Claim:
    """The strongest tie there is: what only goes on where it is, then what is merely better there, then habit.

    `owners` and `affinities` hold what is known of the turn's anchors and keys; what is unknown ties nothing. `failed`:
    where upstream failed the conversation a moment ago; `failing`: where it failed anybody within seconds; the latest last.
    A client that tries again would rather have an answer than its cache, or its thoughts; others are not worse off for
    what happens to them elsewhere.
    """
    tie = _tie(wanted, owners, affinities)
    if tie.is_bound or not is_hurt(wanted, failed):
        return tie
    return replace(tie, avoided=failed[-AVOIDED_MAX:], unsteady=failing)


def is_hurt(wanted: Wanted, failed: tuple[AccountId, ...]) -> bool:
    """Whether upstream failed the turn's conversation a moment ago, or this very turn."""
    return bool(failed or wanted.excluded)


def _tie(wanted: Wanted, owners: Mapping[bytes, AccountId], affinities: Mapping[bytes, AccountId]) -> Claim:
    is_bound = wanted.continuity.kind is ContinuityClass.OWNER_BOUND
    if wanted.preferred is not None and is_bound:
        return Claim(wanted.preferred, is_bound=True, is_worth_waiting=True, reason="held_open")
    known = [(anchor, owners[anchor.digest]) for anchor in wanted.continuity.anchors if owners.get(anchor.digest)]
    binding = [(anchor, owner) for anchor, owner in known if anchor.kind in BINDING]
    if binding:
        anchor, owner = binding[-1]  # the newest: an earlier blob is contained in a later one
        return Claim(owner, is_bound=True, is_worth_waiting=True, reason=f"anchor:{anchor.kind}")
    if wanted.preferred is not None:
        return Claim(wanted.preferred, is_bound=False, is_worth_waiting=False, reason="held_open")
    if known:
        anchor, owner = known[-1]  # the newest: after a move, the new account has thought last
        return Claim(owner, is_bound=False, is_worth_waiting=True, reason=f"anchor:{anchor.kind}")
    usual = habit(wanted, affinities)
    return (
        FREE
        if usual is None
        else Claim(usual, is_bound=False, is_worth_waiting=_has_history(wanted), reason="affinity")
    )


def _has_history(wanted: Wanted) -> bool:
    """Whether there is a cache to lose. A first request is known only because another one began alike."""
    keys = wanted.continuity.affinity_keys
    return len(keys) > 1 or KIND_OF_LETTER.get(keys[0][:1]) is not AffinityKind.PREFIX


def foreign(wanted: Wanted, owners: Mapping[bytes, AccountId], account_id: AccountId) -> tuple[bytes, ...]:
    """Anchors of the turn that the account cannot read, or most likely cannot.

    What the turn means nothing without goes where it may be read, while nobody knows whose it is: upstream will say.
    """

    def is_foreign(anchor: Anchor) -> bool:
        owner = owners.get(anchor.digest)
        return anchor.kind not in BINDING if owner is None else owner != account_id

    return tuple(anchor.digest for anchor in wanted.continuity.anchors if is_foreign(anchor))


def orphans(
    wanted: Wanted, owners: Mapping[bytes, AccountId], affinities: Mapping[bytes, AccountId]
) -> dict[Anchor, AccountId]:
    """Thoughts whose owner was never told (its gateway died with the turn), and whose they must be.

    Those of the last answer are the account's that the conversation was with last. To be kept as they are first met: after a
    move, the habit is another account. Older ones, behind which others are known, are nobody's any more.
    """
    anchors = wanted.continuity.anchors
    known = max((n for n, anchor in enumerate(anchors) if anchor.digest in owners), default=-1)
    last = was_with(wanted, affinities)
    return {
        anchor: last if n > known else NOBODY
        for n, anchor in enumerate(anchors)
        if anchor.kind not in BINDING and anchor.digest not in owners
    }


def was_with(wanted: Wanted, affinities: Mapping[bytes, AccountId]) -> AccountId:
    """The account that the conversation was with last; nobody where what its client holds and what is known here differ.

    What the client holds proves nothing alone: accounts that failed its turns gave it state too.
    """
    usual = habit(wanted, affinities)
    return usual if usual is not None and wanted.preferred in (None, usual) else NOBODY


def habit(wanted: Wanted, affinities: Mapping[bytes, AccountId]) -> AccountId | None:
    """The account that served the conversation last, by the narrowest key that is known."""
    return next((affinities[key] for key in wanted.continuity.affinity_keys if key in affinities), None)
