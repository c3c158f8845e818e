"""What a lease counts for in its key's limits: before the turn by estimate, after it by what upstream said. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct, field
from msgspec.structs import replace

from codex_lb.control.domain.ids import ApiKeyId
from codex_lb.control.domain.lease import Outcome, ReservedAmount, Settlement, Usage, Wanted, Work
from codex_lb.control.domain.limit import Amounts, Limit
from codex_lb.control.domain.pricing import Cost, Prices

# What a token counts for in a limit on cost when nobody knows its price: above nearly every price there is, because a
# key that is limited in dollars must not spend for nothing.
UNPRICED_MICRO_USD_PER_TOKEN = 125
COUNTED = frozenset({Work.TURN, Work.COMPACTION, Work.IMAGE, Work.TRANSCRIPTION})  # the rest is small change of Codex


class Spent(Struct, frozen=True):
    """What a lease that has ended counts for. Where upstream did not say, what it had reserved counts, by limit."""

    api_key_id: ApiKeyId
    model: str
    granted_at: datetime
    amounts: Amounts | None  # None: nobody knows
    guessed: Mapping[str, int] = field(default_factory=dict)  # by limit_id
    is_final: bool = True  # False: its gateway vanished, and may come back with the truth

    def in_limit(self, limit: Limit, *, since: datetime) -> int:
        """What it counts for in a limit of its key that counts from then on."""
        return self.of_limit(limit) if self.granted_at >= since else 0

    def of_limit(self, limit: Limit) -> int:
        """The same, whenever the lease was granted."""
        if not limit.applies_to(self.model):
            return 0
        return self.guessed.get(limit.limit_id, 0) if self.amounts is None else self.amounts.of(limit.unit)


class Ending(Struct, frozen=True):
    """What of a lease's end decides whether it counts."""

    work: Work
    outcome: Outcome
    has_begun: bool  # upstream had begun to answer
    reservation: Sequence[ReservedAmount]


def estimated(wanted: Wanted, prices: Prices) -> Amounts:
    """What a turn may use; reserved before it begins."""
    usage = Usage(wanted.input_tokens, 0, wanted.output_tokens, 0, wanted.input_tokens + wanted.output_tokens)
    amounts = of_usage(usage, micro_usd_of(usage, model=wanted.model, tier=wanted.service_tier, prices=prices))
    return replace(amounts, requests=1)


def of_usage(usage: Usage, micro_usd: int | None) -> Amounts:
    """One request that used this; what was answered with nothing, such as the warm-up of a socket, is none."""
    cost = usage.total_tokens * UNPRICED_MICRO_USD_PER_TOKEN if micro_usd is None else micro_usd
    return Amounts(int(usage.output_tokens > 0), usage.input_tokens, usage.output_tokens, usage.total_tokens, cost)


def micro_usd_of(usage: Usage, *, model: str, tier: str, prices: Prices) -> int | None:
    """What it costs, None when nobody knows."""
    price = prices.price_of(model, tier, usage)
    return price.micro_usd if isinstance(price, Cost) else None


def spent(settlement: Settlement, prices: Prices) -> Spent:
    """What a settled lease counts for."""
    lease, usage = settlement.lease, settlement.usage
    known: Amounts | None = None
    if usage is not None:
        known = of_usage(usage, micro_usd_of(usage, model=lease.model, tier=settlement.service_tier, prices=prices))
    has_begun = settlement.timings.first_output_s is not None
    ending = Ending(lease.work, settlement.outcome, has_begun, lease.reservation)
    return spent_by(ApiKeyId(lease.api_key_id), lease.model, lease.granted_at, ending, known)


def spent_by(api_key_id: ApiKeyId, model: str, granted_at: datetime, ending: Ending, known: Amounts | None) -> Spent:
    """What a lease counts for that ended so, when upstream said that it used this, or nothing.

    A turn that upstream refused, or that never began to be answered, costs nothing. One that was answered in part, or
    whose gateway vanished, counts with what it had reserved: who hangs up just before the end would pay nothing else.
    """
    guessed: dict[str, int] = {}
    amounts: Amounts | None = Amounts()
    if ending.work not in COUNTED:
        pass
    elif known is not None:
        amounts = known
    elif ending.work is Work.TRANSCRIPTION and ending.outcome is Outcome.COMPLETED:
        amounts = Amounts(requests=1)  # upstream counts no tokens of recordings
    elif is_charged_unseen(ending):
        amounts, guessed = None, {one.limit_id: one.amount for one in ending.reservation}
    return Spent(api_key_id, model, granted_at, amounts, guessed, is_final=ending.outcome is not Outcome.ABANDONED)


def is_charged_unseen(ending: Ending) -> bool:
    """Whether a turn counts although upstream did not say what it used."""
    match ending.outcome:
        case Outcome.ABANDONED | Outcome.COMPLETED:
            return True
        case Outcome.CANCELLED | Outcome.BROKEN:
            return ending.has_begun
        case Outcome.LIMITED | Outcome.REJECTED | Outcome.REFUSED:
            return False
