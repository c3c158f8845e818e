"""Attempts and turns as rows: what tables hold of them, and back."""

from __future__ import annotations

from sqlalchemy import RowMapping

from codex_lb.control.domain.ids import AccountId, LeaseId, TurnId
from codex_lb.control.domain.lease import (
    Anchor,
    Blame,
    Decision,
    Fault,
    Lease,
    Outcome,
    ReservedAmount,
    Settlement,
    Timings,
    TurnReport,
    Usage,
    Work,
)
from codex_lb.control.store.repositories.many_rows import Row
from codex_lb.control.store.structures import all_restored, packed, restored, tagged, untagged


def attempt_row(settlement: Settlement) -> Row:
    """What is recorded of a lease."""
    lease = settlement.lease
    return {
        "lease_id": lease.lease_id,
        "epoch": lease.epoch,
        "account_id": lease.account_id,
        "generation": lease.generation,
        "turn_id": lease.turn_id,
        "attempt": lease.attempt,
        "work": str(lease.work),  # plain: the driver takes longest with subclasses of what it knows
        "api_key_id": lease.api_key_id,
        "model": lease.model,
        "reservation": packed(lease.reservation) if lease.reservation else None,
        "granted_at": lease.granted_at,
        "decision": packed(lease.decision),
        **_ending_row(settlement),
        "evidence": packed([tagged(one) for one in settlement.evidence]) if settlement.evidence else None,
        "anchors": packed(settlement.anchors) if settlement.anchors else None,
        "calls": settlement.calls,
        "service_tier": settlement.service_tier,
        "upstream_transport": settlement.upstream_transport,
        "ended_at": settlement.ended_at,
    }


def turn_row(report: TurnReport) -> Row:
    """A line of the request log."""
    return {
        "turn_id": report.turn_id,
        "started_at": report.started_at,
        **_ending_row(report),
        "lease_id": report.lease_id,
        "account_id": report.account_id,
        "attempts": report.attempts,
        "api_key_id": report.api_key_id,
        "work": str(report.work),
        "route": report.route,
        "transport": report.transport,
        "requested_model": report.requested_model,
        "model": report.model,
        "reasoning_effort": report.reasoning_effort,
        "service_tier": report.service_tier,
        "actual_service_tier": report.actual_service_tier,
        "status": report.status,
        "user_agent": report.user_agent,
        "client_ip": report.client_ip,
        "response_id": report.response_id,
        "session_id": report.session_id,
        "request_bytes": report.request_bytes,
        "response_bytes": report.response_bytes,
        "decision": packed(report.decision) if report.decision is not None else None,
    }


def _ending_row(ended: Settlement | TurnReport) -> Row:
    fault, usage, timings = ended.fault, ended.usage, ended.timings
    return {
        "outcome": str(ended.outcome),
        "fault_code": fault.code if fault else None,
        "fault_blame": str(fault.blame) if fault else None,
        "fault_status": fault.status if fault else None,
        "fault_message": fault.message if fault else None,
        "input_tokens": usage.input_tokens if usage else None,
        "cached_input_tokens": usage.cached_input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "reasoning_tokens": usage.reasoning_tokens if usage else None,
        "total_tokens": usage.total_tokens if usage else None,
        "cost_micro_usd": ended.cost_micro_usd,
        "cost_source": ended.cost_source,
        "leased_s": timings.leased_s,
        "dispatched_s": timings.dispatched_s,
        "first_byte_s": timings.first_byte_s,
        "first_output_s": timings.first_output_s,
        "total_s": timings.total_s,
    }


def settlement_of(row: RowMapping) -> Settlement:
    """What `attempt_row` took apart."""
    return Settlement(
        lease=Lease(
            lease_id=LeaseId(row["lease_id"]),
            epoch=row["epoch"],
            account_id=AccountId(row["account_id"]),
            generation=row["generation"],
            turn_id=TurnId(row["turn_id"]),
            attempt=row["attempt"],
            work=Work(row["work"]),
            api_key_id=row["api_key_id"],
            model=row["model"],
            reservation=all_restored(row["reservation"], ReservedAmount),
            granted_at=row["granted_at"],
            decision=restored(row["decision"], Decision),
        ),
        outcome=Outcome(row["outcome"]),
        fault=_fault_of(row),
        usage=_usage_of(row),
        timings=_timings_of(row),
        evidence=tuple(untagged(one) for one in row["evidence"] or ()),
        anchors=all_restored(row["anchors"], Anchor),
        calls=row["calls"],
        service_tier=row["service_tier"],
        upstream_transport=row["upstream_transport"],
        ended_at=row["ended_at"],
        cost_micro_usd=row["cost_micro_usd"],
        cost_source=row["cost_source"],
    )


def report_of(row: RowMapping) -> TurnReport:
    """What `turn_row` took apart."""
    return TurnReport(
        turn_id=TurnId(row["turn_id"]),
        started_at=row["started_at"],
        outcome=Outcome(row["outcome"]),
        fault=_fault_of(row),
        lease_id=row["lease_id"],
        account_id=row["account_id"],
        attempts=row["attempts"],
        api_key_id=row["api_key_id"],
        work=Work(row["work"]),
        route=row["route"],
        transport=row["transport"],
        requested_model=row["requested_model"],
        model=row["model"],
        reasoning_effort=row["reasoning_effort"],
        service_tier=row["service_tier"],
        actual_service_tier=row["actual_service_tier"],
        usage=_usage_of(row),
        timings=_timings_of(row),
        status=row["status"],
        user_agent=row["user_agent"],
        client_ip=row["client_ip"],
        response_id=row["response_id"],
        session_id=row["session_id"],
        request_bytes=row["request_bytes"],
        response_bytes=row["response_bytes"],
        decision=restored(row["decision"], Decision) if row["decision"] is not None else None,
        cost_micro_usd=row["cost_micro_usd"],
        cost_source=row["cost_source"],
    )


def _fault_of(row: RowMapping) -> Fault | None:
    if row["fault_code"] is None:
        return None
    return Fault(row["fault_code"], Blame(row["fault_blame"]), row["fault_status"], row["fault_message"])


def _usage_of(row: RowMapping) -> Usage | None:
    if row["total_tokens"] is None:
        return None
    return Usage(
        input_tokens=row["input_tokens"],
        cached_input_tokens=row["cached_input_tokens"],
        output_tokens=row["output_tokens"],
        reasoning_tokens=row["reasoning_tokens"],
        total_tokens=row["total_tokens"],
    )


def _timings_of(row: RowMapping) -> Timings:
    return Timings(
        leased_s=row["leased_s"],
        dispatched_s=row["dispatched_s"],
        first_byte_s=row["first_byte_s"],
        first_output_s=row["first_output_s"],
        total_s=row["total_s"],
    )
