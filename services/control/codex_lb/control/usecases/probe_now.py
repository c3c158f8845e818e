"""Finds out now whether an account serves: a worker sends one small turn on it, and its answer is waited for."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.probe import DEFAULT_MODEL, ProbeReport, why_not_probable
from codex_lb.control.errors import AccountStateConflictError, WorkerSilentError
from codex_lb.control.usecases.pool import Member, Pool
from codex_lb.control.usecases.probes import Probes
from codex_lb.control.usecases.view_accounts import member_of
from codex_lb.kit.clock import Clock

TAKEN_WITHIN_S = 15.0  # a worker asks for work every five seconds at the least
ANSWERED_WITHIN_S = 40.0  # once taken: the worker gives upstream 30 s, and its report some


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of it."""

    member: Member
    status_before: AccountStatus
    model: str
    report: ProbeReport


class ProbeNow:
    """The verb. Who asks while a probe of the account is under way shares it."""

    def __init__(
        self,
        pool: Pool,
        probes: Probes,
        clock: Clock,
        *,
        taken_within_s: float = TAKEN_WITHIN_S,
        answered_within_s: float = ANSWERED_WITHIN_S,
    ) -> None:
        self._pool = pool
        self._probes = probes
        self._clock = clock
        self._taken_within_s = taken_within_s
        self._answered_within_s = answered_within_s

    async def __call__(self, account_id: AccountId, *, model: str) -> Probed:
        """Works for an account that upstream refuses. Raises AccountStateConflictError where it makes no sense.

        Raises WorkerSilentError when no worker sends it in time, CredentialUnreadableError when it cannot be sent.
        """
        member = member_of(self._pool, account_id)
        before = member.standing_at(self._clock.now()).status
        if why_not := why_not_probable(before):
            raise AccountStateConflictError(why_not)
        self._pool.access_token(member)
        probe = self._probes.ask(account_id, model=model or self._first_model(member))
        with anyio.move_on_after(self._taken_within_s):
            await probe.is_taken.wait()
        if not probe.is_taken.is_set():
            raise WorkerSilentError(
                f"No usage-worker took the probe within {self._taken_within_s:g} s. Is one running, and of this version?"
            )
        with anyio.move_on_after(self._answered_within_s):
            await probe.has_ended.wait()
        if probe.report is None:
            raise WorkerSilentError(
                f"The usage-worker did not tell what came of the probe within {self._answered_within_s:g} s."
            )
        return Probed(member_of(self._pool, account_id), before, probe.model, probe.report)

    def _first_model(self, member: Member) -> str:
        offered = (m.slug for m in self._pool.catalog.models if member.account.plan in m.plans)
        return next(offered, DEFAULT_MODEL)
