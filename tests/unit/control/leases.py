"""Leases, settlements and pools for tests that say only what matters to them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count

from cryptography.fernet import Fernet

from codex_lb.control.domain.account import Account, Credential, Identity
from codex_lb.control.domain.evidence import Evidence
from codex_lb.control.domain.ids import AccountId, LeaseId, TurnId
from codex_lb.control.domain.lease import (
    NO_DECISION,
    Lease,
    Outcome,
    Settlement,
    Timings,
    TurnReport,
    Usage,
    Wanted,
    Work,
)
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.vault.cipher import FernetVault
from codex_lb.control.vault.key_file import Key
from tests.support.clock import NOON

turn_numbers = count(1)


def pool_of(*names: str, plan: str = "plus", vault: FernetVault | None = None) -> Pool:
    """A pool with an account of each name, sealed by a real vault."""
    vault = vault or FernetVault([Key("key-of-tests", Fernet.generate_key())])
    pool = Pool(vault)
    for name in names:
        credential = Credential(f"access-{name}", f"refresh-{name}", "", None)
        pool.put(account(name, plan=plan), vault.seal(credential, generation=1))
    return pool


def account(name: str, *, plan: str = "plus") -> Account:
    """An account whose parts are told from its name."""
    return Account(
        account_id=AccountId(name),
        identity=Identity("https://auth.openai.com", f"user-{name}", "ws"),
        email=f"{name}@example.test",
        plan=plan,
        chatgpt_account_id=f"chatgpt-{name}",
        alias="",
        generation=1,
        access_expires_at=None,
        created_at=NOON,
        updated_at=NOON,
    )


def wanted(*, model: str = "gpt-5.5", wait_max_s: float = 0.0) -> Wanted:
    """A turn that wants a lease."""
    return Wanted(
        turn_id=TurnId(f"turn-{next(turn_numbers)}"), attempt=1, work=Work.TURN, model=model, wait_max_s=wait_max_s
    )


def lease(
    lease_id: str, *, account_id: str = "a", epoch: int = 1, granted_at: datetime = NOON, api_key_id: str = ""
) -> Lease:
    """A lease."""
    return Lease(
        lease_id=LeaseId(lease_id),
        epoch=epoch,
        account_id=AccountId(account_id),
        generation=1,
        turn_id=TurnId(f"turn-of-{lease_id}"),
        attempt=1,
        work=Work.TURN,
        api_key_id=api_key_id,
        model="gpt-5.5",
        reservation=(),
        granted_at=granted_at,
        decision=NO_DECISION,
    )


def settled(held: Lease, *evidence: Evidence, outcome: Outcome = Outcome.COMPLETED) -> Settlement:
    """The end of a lease."""
    return Settlement(
        lease=held,
        outcome=outcome,
        fault=None,
        usage=Usage(100, 40, 20, 5, 120),
        timings=Timings(total_s=1.0),
        evidence=evidence,
        anchors=(),
        calls=1,
        service_tier="",
        upstream_transport="http",
        ended_at=held.granted_at + timedelta(seconds=1),
    )


def report(turn_id: str, *, model: str = "gpt-5.5", service_tier: str = "") -> TurnReport:
    """A line of the request log."""
    return TurnReport(
        turn_id=TurnId(turn_id),
        started_at=NOON,
        outcome=Outcome.COMPLETED,
        fault=None,
        lease_id=f"lease-of-{turn_id}",
        account_id="a",
        attempts=1,
        api_key_id="",
        work=Work.TURN,
        route="/v1/responses",
        transport="sse",
        requested_model=model,
        model=model,
        reasoning_effort="",
        service_tier=service_tier,
        actual_service_tier="",
        usage=Usage(100, 40, 20, 5, 120),
        timings=Timings(first_output_s=0.5, total_s=1.0),
        status=200,
        user_agent="codex_exec/0.169.0",
        client_ip="127.0.0.1",
        response_id="",
        session_id="",
        request_bytes=0,
        response_bytes=0,
    )


class ListLedger:
    """A ledger that commits at once, into lists."""

    def __init__(self) -> None:
        self.settlements: list[Settlement] = []
        self.reports: list[TurnReport] = []
        self.evidence: list[tuple[AccountId, Evidence]] = []

    @property
    def waiting(self) -> int:
        """Nothing ever waits."""
        return 0

    async def write(
        self,
        settlements: Sequence[Settlement],
        reports: Sequence[TurnReport],
        evidence: Sequence[tuple[AccountId, Evidence]],
    ) -> None:
        """Keeps all of it."""
        self.settlements += settlements
        self.reports += reports
        self.evidence += evidence
