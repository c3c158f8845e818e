"""Leases, settlements and turn reports between protobuf and the domain's types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from math import isfinite

from codex_lb.api.control.v1 import leases_pb2 as pb
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.control.domain.continuity import Failure
from codex_lb.control.domain.evidence import (
    CLOSED_CODES,
    QUOTA_CODES,
    Closed,
    CreditsSeen,
    Evidence,
    LoginRejected,
    QuotaSeen,
    RefusalKind,
    Refused,
    Served,
    Source,
    UsageSeen,
)
from codex_lb.control.domain.ids import AccountId, LeaseId, TurnId
from codex_lb.control.domain.lease import (
    NO_DECISION,
    Anchor,
    AnchorKind,
    Blame,
    Continuity,
    ContinuityClass,
    Decision,
    Fault,
    Lease,
    Outcome,
    PassedOver,
    ReservedAmount,
    Settlement,
    Timings,
    TurnReport,
    Usage,
    Wanted,
    Work,
)
from codex_lb.control.domain.window import Window, WindowKind, true_kind
from codex_lb.control.rpcs.instants import (
    EPOCH,
    instant,
    read_instant,
    read_seconds,
    seconds,
    wire_instant,
    wire_seconds,
)
from codex_lb.control.usecases import asked_turn
from codex_lb.control.usecases.refusals import RefusalReason
from codex_lb.control.usecases.refusals import Refused as NoLease

WORK = {
    pb.WORK_KIND_TURN: Work.TURN,
    pb.WORK_KIND_COMPACTION: Work.COMPACTION,
    pb.WORK_KIND_TRANSCRIPTION: Work.TRANSCRIPTION,
    pb.WORK_KIND_FILE: Work.FILE,
    pb.WORK_KIND_CODEX_CONTROL: Work.CODEX_CONTROL,
    pb.WORK_KIND_IMAGE: Work.IMAGE,
}
CONTINUITY = {
    pb.CONTINUITY_CLASS_FREE: ContinuityClass.FREE,
    pb.CONTINUITY_CLASS_SOFT: ContinuityClass.SOFT,
    pb.CONTINUITY_CLASS_OWNER_PREFERRING: ContinuityClass.OWNER_PREFERRING,
    pb.CONTINUITY_CLASS_OWNER_BOUND: ContinuityClass.OWNER_BOUND,
}
ANCHOR = {
    pb.ANCHOR_KIND_RESPONSE: AnchorKind.RESPONSE,
    pb.ANCHOR_KIND_FILE: AnchorKind.FILE,
    pb.ANCHOR_KIND_TURN_STATE: AnchorKind.TURN_STATE,
    pb.ANCHOR_KIND_REASONING: AnchorKind.REASONING,
    pb.ANCHOR_KIND_COMPACTION: AnchorKind.COMPACTION,
}
OUTCOME = {
    pb.OUTCOME_COMPLETED: Outcome.COMPLETED,
    pb.OUTCOME_LIMITED: Outcome.LIMITED,
    pb.OUTCOME_REJECTED: Outcome.REJECTED,
    pb.OUTCOME_BROKEN: Outcome.BROKEN,
    pb.OUTCOME_CANCELLED: Outcome.CANCELLED,
    pb.OUTCOME_ABANDONED: Outcome.ABANDONED,
    pb.OUTCOME_REFUSED: Outcome.REFUSED,
}
BLAME = {
    pb.BLAME_CLIENT: Blame.CLIENT,
    pb.BLAME_ACCOUNT: Blame.ACCOUNT,
    pb.BLAME_MODEL: Blame.MODEL,
    pb.BLAME_UPSTREAM: Blame.UPSTREAM,
    pb.BLAME_NETWORK: Blame.NETWORK,
    pb.BLAME_US: Blame.US,
}
REASON = {
    RefusalReason.POOL_EXHAUSTED: reasons_pb2.ERROR_REASON_POOL_EXHAUSTED,
    RefusalReason.NO_ACCOUNT_AVAILABLE: reasons_pb2.ERROR_REASON_NO_ACCOUNT_AVAILABLE,
    RefusalReason.MODEL_NOT_OFFERED: reasons_pb2.ERROR_REASON_MODEL_NOT_OFFERED,
    RefusalReason.POOL_BUSY: reasons_pb2.ERROR_REASON_POOL_BUSY,
    RefusalReason.OWNER_UNAVAILABLE: reasons_pb2.ERROR_REASON_OWNER_UNAVAILABLE,
    RefusalReason.KEY_LIMIT_REACHED: reasons_pb2.ERROR_REASON_KEY_LIMIT_REACHED,
    RefusalReason.KEY_INVALID: reasons_pb2.ERROR_REASON_KEY_INVALID,
    RefusalReason.COORDINATION_UNAVAILABLE: reasons_pb2.ERROR_REASON_COORDINATION_UNAVAILABLE,
}
WORK_WIRE = {v: k for k, v in WORK.items()}

LIMIT_NAME_CHARS_MAX = 200

# Codes that stand for a window used up, as against too much at the moment.


def wanted(message: pb.Acquire) -> Wanted:
    """An acquire."""
    estimate = message.estimate
    return Wanted(
        turn_id=TurnId(message.turn_id),
        attempt=message.attempt,
        work=WORK.get(message.work, Work.TURN),
        model=message.model,
        service_tier=message.service_tier,
        api_key_id=message.api_key_id,
        input_tokens=estimate.input_tokens,
        output_tokens=estimate.output_tokens,
        continuity=continuity(message.continuity),
        excluded={AccountId(e.account_id): e.fault_code for e in message.excluded},
        preferred=AccountId(message.preferred_account_id) if message.preferred_account_id else None,
        wait_max_s=read_seconds(message.wait_max),
    )


def continuity(message: pb.Continuity) -> Continuity:
    """Who may serve a turn."""
    return Continuity(
        kind=CONTINUITY.get(message.kind, ContinuityClass.FREE),
        anchors=anchors(message.anchors),
        affinity_keys=tuple(message.affinity_keys),
        is_full_context=message.is_full_context,
    )


def anchors(messages: Iterable[pb.Anchor]) -> tuple[Anchor, ...]:
    """Anchors of kinds that this version knows."""
    return tuple(Anchor(ANCHOR[a.kind], a.digest) for a in messages if a.kind in ANCHOR)


def lease(message: pb.HeldLease) -> Lease:
    """A lease as a gateway describes it, in the words of the grant."""
    return Lease(
        lease_id=LeaseId(message.lease_id),
        epoch=message.epoch,
        account_id=AccountId(message.account_id),
        generation=message.credential_generation,
        turn_id=TurnId(message.turn_id),
        attempt=message.attempt,
        work=WORK.get(message.work, Work.TURN),
        api_key_id=message.api_key_id,
        model=message.model,
        reservation=tuple(
            ReservedAmount(a.limit_id, a.amount, read_instant(a.window_started_at)) for a in message.reservation.amounts
        ),
        granted_at=instant(message, "granted_at") or EPOCH,
        decision=decision(message.decision) if message.HasField("decision") else NO_DECISION,
    )


def recent_failure(message: pb.RecentFailure) -> Failure:
    """A failure that a gateway remembers."""
    return Failure(
        keys=tuple(message.affinity_keys),
        account_id=AccountId(message.account_id),
        ago_s=read_seconds(message.ago),
        lasted_s=read_seconds(message.lasted),
    )


def decision(message: pb.Decision) -> Decision:
    """A decision record."""
    return Decision(
        strategy=message.strategy,
        affinity=message.affinity,
        candidates=message.candidates,
        eligible=message.eligible,
        passed_over=tuple(
            PassedOver(AccountId(p.account_id), p.reason, instant(p, "until")) for p in message.passed_over
        ),
        passed_over_counts=dict(message.passed_over_counts),
        waited_s=read_seconds(message.waited),
        position=message.position,
    )


def settlement(message: pb.Settlement, held: Lease, *, clock_ahead: timedelta) -> Settlement:
    """The settlement of a lease; instants of the gateway's clock are moved to ours."""
    outcome = OUTCOME.get(message.outcome, Outcome.BROKEN)
    ended_at = (instant(message, "ended_at") or EPOCH) - clock_ahead
    problem = fault(message.fault) if message.HasField("fault") else None
    return Settlement(
        lease=held,
        outcome=outcome,
        fault=problem,
        usage=usage(message.usage) if message.HasField("usage") else None,
        timings=timings(message.timings),
        evidence=tuple(learned(message, held, outcome, problem, ended_at=ended_at, clock_ahead=clock_ahead)),
        anchors=anchors(message.anchors),
        calls=message.calls,
        service_tier=message.service_tier,
        upstream_transport=message.upstream_transport,
        ended_at=ended_at,
        failed_affinity_keys=tuple(message.failed_affinity_keys),
    )


def learned(
    message: pb.Settlement,
    held: Lease,
    outcome: Outcome,
    problem: Fault | None,
    *,
    ended_at: datetime,
    clock_ahead: timedelta,
) -> Iterator[Evidence]:
    """What a settlement says about its account."""
    refused_until: datetime | None = None
    newest: dict[WindowKind, UsageSeen] = {}
    for seen in message.evidence:
        observed_at = (instant(seen, "observed_at") or EPOCH) - clock_ahead
        refused_until = instant(seen, "refused_until") or refused_until
        if seen.limit_name:  # quotas of particular models must not pass for the main one
            of_model = tuple(sample.window for sample in windows(seen, observed_at))
            yield QuotaSeen(seen.limit_name[:LIMIT_NAME_CHARS_MAX], of_model, observed_at, Source.HEADERS)
            continue
        # A turn shows its account's windows again and again: the last time says it all.
        for sample in windows(seen, observed_at):
            held_sample = newest.get(sample.window.kind)
            if held_sample is None or sample.observed_at >= held_sample.observed_at:
                newest[sample.window.kind] = sample
        if seen.HasField("credits"):
            given = seen.credits
            yield CreditsSeen(given.has_credits, given.unlimited, given.balance[:LIMIT_NAME_CHARS_MAX], observed_at)
    yield from newest.values()
    if outcome is Outcome.COMPLETED:
        # As of its grant: a turn that was running when the account was refused proves nothing by ending well.
        yield Served(held.granted_at)
    elif problem is not None and problem.blame is Blame.ACCOUNT:
        yield blamed(held, outcome, problem, refused_until=refused_until, ended_at=ended_at)


def windows(seen: pb.Evidence, observed_at: datetime) -> Iterator[UsageSeen]:
    """Usage samples; a window whose share is no number is left out."""
    for window in seen.windows:
        if window.window not in WindowKind.__members__.values() or not isfinite(window.used_percent):
            continue
        length_s = read_seconds(window.length)
        kind = true_kind(WindowKind(window.window), length_s)
        used_percent = min(100.0, max(0.0, window.used_percent))
        yield UsageSeen(Window(kind, used_percent, length_s, instant(window, "resets_at")), observed_at, Source.HEADERS)


def blamed(
    held: Lease, outcome: Outcome, problem: Fault, *, refused_until: datetime | None, ended_at: datetime
) -> Evidence:
    """Evidence out of a fault that is the account's."""
    if problem.code in CLOSED_CODES:
        return Closed(held.generation, problem.code, ended_at)
    if outcome is Outcome.LIMITED:
        kind = RefusalKind.QUOTA if problem.code in QUOTA_CODES else RefusalKind.RATE
        return Refused(kind, problem.code, refused_until, ended_at)
    return LoginRejected(held.generation, problem.code, ended_at)


def report(message: pb.TurnReport, *, clock_ahead: timedelta) -> TurnReport:
    """A line of the request log."""
    return TurnReport(
        turn_id=TurnId(message.turn_id),
        started_at=(instant(message, "started_at") or EPOCH) - clock_ahead,
        outcome=OUTCOME.get(message.outcome, Outcome.BROKEN),
        fault=fault(message.fault) if message.HasField("fault") else None,
        lease_id=message.lease_id,
        account_id=message.account_id,
        attempts=message.attempts,
        api_key_id=message.api_key_id,
        work=WORK.get(message.work, Work.TURN),
        route=message.route,
        transport=message.transport,
        requested_model=message.requested_model,
        model=message.model,
        reasoning_effort=message.reasoning_effort,
        service_tier=message.service_tier,
        actual_service_tier=message.actual_service_tier,
        usage=usage(message.usage) if message.HasField("usage") else None,
        timings=timings(message.timings),
        status=message.status,
        user_agent=message.user_agent,
        client_ip=message.client_ip,
        response_id=message.response_id,
        session_id=message.session_id,
        request_bytes=message.request_bytes,
        response_bytes=message.response_bytes,
        decision=decision(message.decision) if message.HasField("decision") else None,
    )


def fault(message: pb.Fault) -> Fault:
    """A classified failure."""
    return Fault(message.code, BLAME.get(message.blame, Blame.US), message.status, message.message)


def usage(message: pb.Usage) -> Usage:
    """Tokens."""
    return Usage(
        message.input_tokens,
        message.cached_input_tokens,
        message.output_tokens,
        message.reasoning_tokens,
        message.total_tokens,
    )


def timings(message: pb.Timings) -> Timings:
    """Seconds since the request was read."""
    return Timings(
        leased_s=seconds(message, "leased"),
        dispatched_s=seconds(message, "dispatched"),
        first_byte_s=seconds(message, "first_byte"),
        first_output_s=seconds(message, "first_output"),
        total_s=seconds(message, "total"),
    )


def granted(acquire_id: int, grant: asked_turn.Granted, *, expires_at: datetime) -> pb.Granted:
    """A grant."""
    held = grant.lease
    return pb.Granted(
        acquire_id=acquire_id,
        lease_id=held.lease_id,
        epoch=held.epoch,
        account_id=held.account_id,
        chatgpt_account_id=grant.chatgpt_account_id,
        access_token=grant.access_token,
        credential_generation=held.generation,
        slot=pb.Slot(kind=pb.SLOT_KIND_STREAM, in_use=grant.in_use, capacity=grant.slots),
        reservation=pb.Reservation(amounts=[amount(one) for one in held.reservation]),
        expires_at=wire_instant(expires_at),
        granted_at=wire_instant(grant.lease.granted_at),
        decision=wire_decision(held.decision),
        foreign_anchors=grant.foreign_anchors,
        create_slot=create_slot(grant),
    )


def amount(value: ReservedAmount) -> pb.ReservedAmount:
    """A lease's share of one limit."""
    return pb.ReservedAmount(
        limit_id=value.limit_id, amount=value.amount, window_started_at=wire_instant(value.window_started_at)
    )


def create_slot(grant: asked_turn.Granted) -> pb.Slot | None:
    """The slot that is free again once upstream begins to answer; None where creating is not limited."""
    if not grant.create_slots:
        return None
    return pb.Slot(kind=pb.SLOT_KIND_CREATE, in_use=grant.creating, capacity=grant.create_slots)


def refused(acquire_id: int, refusal: NoLease) -> pb.Refused:
    """A refusal."""
    return pb.Refused(
        acquire_id=acquire_id,
        reason=reasons_pb2.ErrorReason.Name(REASON[refusal.reason]),
        message=refusal.message,
        retry_at=wire_instant(refusal.retry_at),
        resets_at=wire_instant(refusal.resets_at),
        decision=wire_decision(refusal.decision),
    )


def wire_decision(value: Decision) -> pb.Decision:
    """A decision record."""
    if value.passed_over or value.passed_over_counts or value.waited_s or value.position:
        return full_decision(value)
    return smooth_decision(value.strategy, value.affinity, value.candidates, value.eligible)


@lru_cache(maxsize=1000)
def smooth_decision(strategy: str, affinity: str, candidates: int, eligible: int) -> pb.Decision:
    """The record of a turn that nothing stood in the way of: the same for most of them, so made once."""
    return full_decision(Decision(strategy, affinity, candidates, eligible, (), {}))


def full_decision(value: Decision) -> pb.Decision:
    """A decision record with all that there is to it."""
    return pb.Decision(
        strategy=value.strategy,
        affinity=value.affinity,
        candidates=value.candidates,
        eligible=value.eligible,
        passed_over=[
            pb.PassedOver(account_id=p.account_id, reason=p.reason, until=wire_instant(p.until))
            for p in value.passed_over
        ],
        passed_over_counts=value.passed_over_counts,
        waited=wire_seconds(value.waited_s),
        position=value.position,
    )
