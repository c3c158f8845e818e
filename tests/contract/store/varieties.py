"""Every variety of evidence, settlement and report that the domain allows, as hypothesis strategies."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from codex_lb.control.domain.evidence import (
    Closed,
    CreditsSeen,
    Evidence,
    LoginRejected,
    Operated,
    OperatorAction,
    Reactivated,
    RefusalKind,
    Refused,
    Served,
    Source,
    UsageSeen,
)
from codex_lb.control.domain.ids import AccountId, LeaseId, TurnId
from codex_lb.control.domain.lease import (
    Anchor,
    AnchorKind,
    Blame,
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
    Work,
)
from codex_lb.control.domain.window import Window, WindowKind

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
instants = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
counts = st.integers(0, 2**63 - 1)
small_counts = st.integers(0, 2**31 - 1)
numbers = st.floats(allow_nan=False, allow_infinity=False)
account_ids = words.map(AccountId)

windows = st.builds(Window, st.sampled_from(WindowKind), numbers, numbers, st.none() | instants)
evidence: st.SearchStrategy[Evidence] = st.one_of(
    st.builds(UsageSeen, windows, instants, st.sampled_from(Source)),
    st.builds(Refused, st.sampled_from(RefusalKind), words, st.none() | instants, instants),
    st.builds(Served, instants),
    st.builds(LoginRejected, counts, words, instants, st.booleans()),
    st.builds(CreditsSeen, st.booleans(), st.booleans(), words, instants),
    st.builds(Closed, counts, words, instants),
    st.builds(Reactivated, instants),
    st.builds(Operated, st.sampled_from(OperatorAction), instants),
)

decisions = st.builds(
    Decision,
    strategy=words,
    affinity=words,
    candidates=small_counts,
    eligible=small_counts,
    passed_over=st.lists(st.builds(PassedOver, account_ids, words, st.none() | instants), max_size=3).map(tuple),
    passed_over_counts=st.dictionaries(words, small_counts, max_size=3),
    waited_s=numbers,
)
faults = st.none() | st.builds(Fault, words, st.sampled_from(Blame), st.integers(0, 999), words)
usages = st.none() | st.builds(Usage, counts, counts, counts, counts, counts)
seconds = st.none() | numbers
timings = st.builds(Timings, seconds, seconds, seconds, seconds, seconds)
anchors = st.builds(Anchor, st.sampled_from(AnchorKind), st.binary(max_size=32))

leases = st.builds(
    Lease,
    lease_id=st.uuids().map(lambda one: LeaseId(str(one))),
    epoch=counts,
    account_id=account_ids,
    generation=counts,
    turn_id=st.uuids().map(lambda one: TurnId(str(one))),
    attempt=small_counts,
    work=st.sampled_from(Work),
    api_key_id=words,
    model=words,
    reservation=st.lists(st.builds(ReservedAmount, words, counts, instants), max_size=3).map(tuple),
    granted_at=instants,
    decision=decisions,
)
settlements = st.builds(
    Settlement,
    lease=leases,
    outcome=st.sampled_from(Outcome),
    fault=faults,
    usage=usages,
    timings=timings,
    evidence=st.lists(evidence, max_size=3).map(tuple),
    anchors=st.lists(anchors, max_size=3).map(tuple),
    calls=small_counts,
    service_tier=words,
    upstream_transport=words,
    ended_at=instants,
)
reports = st.builds(
    TurnReport,
    turn_id=st.uuids().map(lambda one: TurnId(str(one))),
    started_at=instants,
    outcome=st.sampled_from(Outcome),
    fault=faults,
    lease_id=words,
    account_id=words,
    attempts=small_counts,
    api_key_id=words,
    work=st.sampled_from(Work),
    route=words,
    transport=words,
    requested_model=words,
    model=words,
    reasoning_effort=words,
    service_tier=words,
    actual_service_tier=words,
    usage=usages,
    timings=timings,
    status=small_counts,
    user_agent=words,
    client_ip=words,
    response_id=words,
    session_id=words,
    request_bytes=counts,
    response_bytes=counts,
)
