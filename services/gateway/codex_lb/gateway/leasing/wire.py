"""Leases, settlements and turn reports as protobuf."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from codex_lb.api.control.v1 import leases_pb2 as pb
from codex_lb.gateway.leasing.lease import Anchor, AnchorKind, Lease, LeaseEnd, Timings, TurnEnd, Wanted, Work
from codex_lb.gateway.outcome import (
    STATE_LOST,
    Abandoned,
    Blame,
    Broken,
    Completed,
    Fault,
    Limited,
    Outcome,
    Rejected,
    Usage,
)
from codex_lb.gateway.upstream.quota import WindowSeen

BLAME = {
    Blame.CLIENT: pb.BLAME_CLIENT,
    Blame.ACCOUNT: pb.BLAME_ACCOUNT,
    Blame.MODEL: pb.BLAME_MODEL,
    Blame.UPSTREAM: pb.BLAME_UPSTREAM,
    Blame.NETWORK: pb.BLAME_NETWORK,
    Blame.US: pb.BLAME_US,
}
# Failures that a conversation would meet on every account: the client's to mend, and our own network's.
EVERYWHERE = frozenset({Blame.CLIENT, Blame.NETWORK})
# To a client that hangs up after as long a silence, the account has failed: it began no answer, or stopped in one for
# longer than models think without a word.
SILENT_S = 10.0
STOPPED_S = 60.0
OUTCOME: dict[type[Outcome], pb.Outcome.ValueType] = {
    Completed: pb.OUTCOME_COMPLETED,
    Limited: pb.OUTCOME_LIMITED,
    Rejected: pb.OUTCOME_REJECTED,
    Broken: pb.OUTCOME_BROKEN,
    Abandoned: pb.OUTCOME_CANCELLED,
}
WORK = {
    Work.TURN: pb.WORK_KIND_TURN,
    Work.COMPACTION: pb.WORK_KIND_COMPACTION,
    Work.TRANSCRIPTION: pb.WORK_KIND_TRANSCRIPTION,
    Work.FILE: pb.WORK_KIND_FILE,
    Work.CODEX_CONTROL: pb.WORK_KIND_CODEX_CONTROL,
    Work.IMAGE: pb.WORK_KIND_IMAGE,
}
USER_AGENT_CHARS_MAX = 120


def acquire(acquire_id: int, wanted: Wanted) -> pb.Acquire:
    """An acquire."""
    return pb.Acquire(
        acquire_id=acquire_id,
        turn_id=wanted.turn_id,
        attempt=wanted.attempt,
        work=WORK[wanted.work],
        model=wanted.model,
        service_tier=wanted.service_tier,
        api_key_id=wanted.api_key_id,
        excluded=[pb.ExcludedAccount(account_id=a, fault_code=c) for a, c in wanted.excluded.items()],
        estimate=pb.Estimate(input_tokens=wanted.input_tokens, output_tokens=wanted.output_tokens),
        wait_max=span(wanted.wait_max_s),
        preferred_account_id=wanted.preferred_account_id,
        continuity=pb.Continuity(
            kind=continuity_class(wanted),
            anchors=[anchor(a) for a in wanted.anchors],
            affinity_keys=wanted.affinity_keys,
        ),
    )


def continuity_class(wanted: Wanted) -> pb.ContinuityClass.ValueType:
    """How strongly the turn is tied to its preferred account."""
    if not wanted.preferred_account_id:
        if any(a.kind is not AnchorKind.REASONING for a in wanted.anchors):
            return pb.CONTINUITY_CLASS_OWNER_BOUND
        if wanted.anchors:
            return pb.CONTINUITY_CLASS_OWNER_PREFERRING
        return pb.CONTINUITY_CLASS_SOFT if wanted.affinity_keys else pb.CONTINUITY_CLASS_FREE
    return pb.CONTINUITY_CLASS_OWNER_BOUND if wanted.is_bound else pb.CONTINUITY_CLASS_SOFT


def lease(granted: pb.Granted, asked: pb.Acquire) -> Lease:
    """A grant together with what it was asked for."""
    proof = pb.HeldLease(
        lease_id=granted.lease_id,
        epoch=granted.epoch,
        account_id=granted.account_id,
        credential_generation=granted.credential_generation,
        turn_id=asked.turn_id,
        attempt=asked.attempt,
        work=asked.work,
        api_key_id=asked.api_key_id,
        model=asked.model,
        reservation=granted.reservation,
        granted_at=granted.granted_at,
        decision=granted.decision,
    )
    return Lease(
        granted.lease_id,
        granted.account_id,
        granted.chatgpt_account_id,
        granted.access_token,
        proof,
        frozenset(granted.foreign_anchors),
        granted.HasField("create_slot"),
    )


def settlement(held: Lease, end: LeaseEnd) -> pb.Settlement:
    """The end of a lease."""
    message = pb.Settlement(
        lease=held.proof,
        outcome=OUTCOME[type(end.outcome)],
        timings=timings(end.timings),
        calls=end.calls,
        upstream_transport="http",
        ended_at=instant(end.ended_at),
        anchors=[anchor(a) for a in end.anchors],
    )
    refused_until = None
    match end.outcome:
        case Completed(usage=used, service_tier=tier):
            message.service_tier = tier
            if used is not None:
                message.usage.CopyFrom(usage(used))
        case Limited(fault=problem) | Rejected(fault=problem) | Broken(fault=problem):
            message.fault.CopyFrom(fault(problem))
            refused_until = _refused_until(problem, end.ended_at)
            if problem.blame not in EVERYWHERE or problem.code in STATE_LOST:
                message.failed_affinity_keys.extend(end.failure_keys)
        case Abandoned():
            if end.silent_s >= (STOPPED_S if end.has_begun else SILENT_S):
                message.failed_affinity_keys.extend(end.failure_keys)
    if end.quota or refused_until is not None:
        seen = message.evidence.add(observed_at=instant(end.quota_at or end.ended_at))
        seen.windows.extend(window(w) for w in end.quota)
        if refused_until is not None:
            seen.refused_until.CopyFrom(instant(refused_until))
    return message


def _refused_until(problem: Fault, ended_at: datetime) -> datetime | None:
    if problem.resets_at is not None:
        return problem.resets_at
    if problem.retry_after_s is not None and problem.blame is Blame.ACCOUNT:
        return datetime.fromtimestamp(ended_at.timestamp() + problem.retry_after_s, UTC)
    return None


def report(end: TurnEnd) -> pb.TurnReport:
    """A line of the request log."""
    message = pb.TurnReport(
        turn_id=end.turn_id,
        started_at=instant(end.started_at),
        outcome=pb.OUTCOME_REFUSED if end.outcome is None else OUTCOME[type(end.outcome)],
        lease_id=end.lease_id,
        account_id=end.account_id,
        attempts=end.attempts,
        api_key_id=end.api_key_id,
        work=WORK[end.work],
        route=end.route,
        transport=end.transport,
        requested_model=end.requested_model,
        model=end.model,
        reasoning_effort=end.reasoning_effort,
        service_tier=end.service_tier,
        actual_service_tier=end.actual_service_tier,
        timings=timings(end.timings),
        status=end.status,
        user_agent=end.user_agent[:USER_AGENT_CHARS_MAX],
        client_ip=end.client_ip,
        response_id=end.response_id,
        session_id=end.session_id,
        request_bytes=end.request_bytes,
        response_bytes=end.response_bytes,
        decision=end.decision,
    )
    if end.usage is not None:
        message.usage.CopyFrom(usage(end.usage))
    match end.outcome:
        case Limited(fault=problem) | Rejected(fault=problem) | Broken(fault=problem):
            message.fault.CopyFrom(fault(problem))
        case None:
            message.fault.CopyFrom(
                pb.Fault(code=end.refusal_code, blame=pb.BLAME_US, message=end.refusal_message[:500])
            )
        case Completed() | Abandoned():
            pass
    return message


def anchor(value: Anchor) -> pb.Anchor:
    """An anchor."""
    return pb.Anchor(kind=pb.AnchorKind.ValueType(value.kind), digest=value.digest)


def fault(value: Fault) -> pb.Fault:
    """A classified failure."""
    return pb.Fault(code=value.code, blame=BLAME[value.blame], status=value.status, message=value.message)


def usage(value: Usage) -> pb.Usage:
    """Tokens."""
    return pb.Usage(
        input_tokens=value.input_tokens,
        cached_input_tokens=value.cached_input_tokens,
        output_tokens=value.output_tokens,
        reasoning_tokens=value.reasoning_tokens,
        total_tokens=value.total_tokens,
    )


def window(value: WindowSeen) -> pb.WindowEvidence:
    """One accounting window."""
    message = pb.WindowEvidence(window=value.window, used_percent=value.used_percent, length=span(value.length_s))
    if value.resets_at is not None:
        message.resets_at.CopyFrom(instant(value.resets_at))
    return message


def timings(value: Timings) -> pb.Timings:
    """Spans since the request was read."""
    message = pb.Timings()
    if value.leased_s is not None:
        _put(message.leased, value.leased_s)
    if value.dispatched_s is not None:
        _put(message.dispatched, value.dispatched_s)
    if value.first_byte_s is not None:
        _put(message.first_byte, value.first_byte_s)
    if value.first_output_s is not None:
        _put(message.first_output, value.first_output_s)
    if value.total_s is not None:
        _put(message.total, value.total_s)
    return message


def _put(message: Duration, value_s: float) -> None:
    """Writes a span where it is to be: half the cost of making one and copying it there."""
    message.seconds = whole = int(value_s)
    message.nanos = int((value_s - whole) * 1e9)


def instant(value: datetime) -> Timestamp:
    """An aware datetime."""
    microseconds = int(value.timestamp() * 1_000_000)
    return Timestamp(seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1000)


def now() -> Timestamp:
    """The present, by this machine's clock."""
    return instant(datetime.now(UTC))


def span(value_s: float) -> Duration:
    """Seconds."""
    whole = int(value_s)
    return Duration(seconds=whole, nanos=int((value_s - whole) * 1e9))


def read_instant(message: Timestamp) -> datetime:
    """A timestamp as an aware datetime."""
    return datetime.fromtimestamp(message.seconds + message.nanos / 1e9, UTC)


def read_span(message: Duration) -> float:
    """A duration in seconds."""
    return message.seconds + message.nanos / 1e9
