"""What was spent: `turns` is the request log, one row per turn; `attempts` has one row per settled lease.

Neither refers to accounts by a foreign key: what was spent stays true when the account is gone, and a settlement may
come before, without or after its turn's report.
"""

from __future__ import annotations

from sqlalchemy import Column, Double, Index, Integer, Table

from codex_lb.control.store.tables.schema import COUNT, STRUCTURE, Instant, Words, metadata


def _ending() -> list[Column[object]]:
    """How it ended and what it used; the columns of a fault, and those of usage, are all null or all set."""
    return [
        Column("outcome", Words, nullable=False),
        Column("fault_code", Words),
        Column("fault_blame", Words),
        Column("fault_status", Integer),
        Column("fault_message", Words),
        Column("input_tokens", COUNT),
        Column("cached_input_tokens", COUNT),
        Column("output_tokens", COUNT),
        Column("reasoning_tokens", COUNT),
        Column("total_tokens", COUNT),
        Column("cost_micro_usd", COUNT),
        Column("cost_source", Words, nullable=False, server_default=""),  # rows from before prices say nothing
        Column("leased_s", Double),
        Column("dispatched_s", Double),
        Column("first_byte_s", Double),
        Column("first_output_s", Double),
        Column("total_s", Double),
    ]


turns = Table(
    "turns",
    metadata,
    Column("turn_id", Words, primary_key=True),
    Column("started_at", Instant, nullable=False),
    *_ending(),
    Column("lease_id", Words, nullable=False),
    Column("account_id", Words, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("api_key_id", Words, nullable=False),
    Column("work", Words, nullable=False),
    Column("route", Words, nullable=False),
    Column("transport", Words, nullable=False),
    Column("requested_model", Words, nullable=False),
    Column("model", Words, nullable=False),
    Column("reasoning_effort", Words, nullable=False),
    Column("service_tier", Words, nullable=False),
    Column("actual_service_tier", Words, nullable=False),
    Column("status", Integer, nullable=False),
    Column("user_agent", Words, nullable=False),
    Column("client_ip", Words, nullable=False),
    Column("response_id", Words, nullable=False),
    Column("session_id", Words, nullable=False),
    Column("request_bytes", COUNT, nullable=False),
    Column("response_bytes", COUNT, nullable=False),
    Column("decision", STRUCTURE),  # why there was no lease, or no further one
    Index(None, "started_at"),
    Index(None, "account_id", "started_at"),
    Index(None, "api_key_id", "started_at"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("lease_id", Words, primary_key=True),
    Column("epoch", COUNT, nullable=False),
    Column("account_id", Words, nullable=False),
    Column("generation", COUNT, nullable=False),
    Column("turn_id", Words, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("work", Words, nullable=False),
    Column("api_key_id", Words, nullable=False),
    Column("model", Words, nullable=False),
    Column("reservation", STRUCTURE),  # null for none, as in the next two
    Column("granted_at", Instant, nullable=False),
    Column("decision", STRUCTURE, nullable=False),
    *_ending(),
    Column("evidence", STRUCTURE),
    Column("anchors", STRUCTURE),
    Column("calls", Integer, nullable=False),
    Column("service_tier", Words, nullable=False),
    Column("upstream_transport", Words, nullable=False),
    Column("ended_at", Instant, nullable=False),
    Index(None, "turn_id"),
    Index(None, "granted_at"),
    Index(None, "account_id", "ended_at"),
    Index(None, "api_key_id", "granted_at"),
    Index(None, "ended_at"),  # whose anchors are recalled, and what is past its retention
)
