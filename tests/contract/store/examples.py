"""Ordinary values of the domain, for tests that say only what matters to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from codex_lb.control.domain.account import Account, Identity
from codex_lb.control.domain.evidence import Source, UsageSeen
from codex_lb.control.domain.ids import AccountId, LeaseId, TurnId
from codex_lb.control.domain.lease import (
    NO_DECISION,
    Lease,
    Outcome,
    Settlement,
    Timings,
    TurnReport,
    Usage,
    Work,
)
from codex_lb.control.domain.window import Window, WindowKind
from codex_lb.control.store.database import Database
from codex_lb.control.usecases.vault_ports import SealedCredential

NOON = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)


def account(name: str, *, created_at: datetime = NOON) -> Account:
    """An account whose parts are told from its name."""
    return Account(
        account_id=AccountId(f"account-{name}"),
        identity=Identity("https://issuer.test", f"user-{name}", f"workspace-{name}"),
        email=f"{name}@example.test",
        plan="plus",
        chatgpt_account_id=f"chatgpt-{name}",
        alias=name,
        generation=1,
        access_expires_at=NOON + timedelta(days=10),
        created_at=created_at,
        updated_at=created_at,
    )


def sealed(generation: int = 1) -> SealedCredential:
    """A credential nobody can open."""
    return SealedCredential(generation, "key-of-tests", f"sealed {generation}".encode())


def settlement(
    lease_id: str, *, account_id: str = "account-a", epoch: int = 1, outcome: Outcome = Outcome.COMPLETED
) -> Settlement:
    """The end of the first lease of a turn."""
    return Settlement(
        lease=Lease(
            lease_id=LeaseId(lease_id),
            epoch=epoch,
            account_id=AccountId(account_id),
            generation=1,
            turn_id=TurnId(f"turn-of-{lease_id}"),
            attempt=1,
            work=Work.TURN,
            api_key_id="",
            model="gpt-5.2",
            reservation=(),
            granted_at=NOON,
            decision=NO_DECISION,
        ),
        outcome=outcome,
        fault=None,
        usage=Usage(100, 40, 20, 5, 120),
        timings=Timings(leased_s=0.01, total_s=1.5),
        evidence=(),
        anchors=(),
        calls=1,
        service_tier="default",
        upstream_transport="http",
        ended_at=NOON + timedelta(seconds=2),
    )


def report(turn_id: str, *, account_id: str = "account-a", outcome: Outcome = Outcome.COMPLETED) -> TurnReport:
    """One line of the request log."""
    return TurnReport(
        turn_id=TurnId(turn_id),
        started_at=NOON,
        outcome=outcome,
        fault=None,
        lease_id=f"lease-of-{turn_id}",
        account_id=account_id,
        attempts=1,
        api_key_id="",
        work=Work.TURN,
        route="/v1/responses",
        transport="sse",
        requested_model="gpt-5.2",
        model="gpt-5.2",
        reasoning_effort="",
        service_tier="",
        actual_service_tier="default",
        usage=Usage(100, 40, 20, 5, 120),
        timings=Timings(total_s=1.5),
        status=200,
        user_agent="codex_exec/0.169.0",
        client_ip="127.0.0.1",
        response_id="resp_1",
        session_id="",
        request_bytes=2048,
        response_bytes=4096,
    )


def usage_seen(used_percent: float, *, at: datetime = NOON, kind: WindowKind = WindowKind.PRIMARY) -> UsageSeen:
    """A sample of a 5 h window."""
    return UsageSeen(Window(kind, used_percent, 18_000.0, NOON + timedelta(hours=4)), at, Source.HEADERS)


async def add_account(store: Database, name: str) -> Account:
    """Puts an account into the pool."""
    added = account(name)
    async with store.begin(writing=True) as unit:
        await unit.accounts.add(added, sealed())
    return added


def with_unstorable_usage(settled: Settlement) -> Settlement:
    """The same with a number that no column holds."""
    return replace(settled, usage=Usage(2**80, 0, 0, 0, 2**80))
