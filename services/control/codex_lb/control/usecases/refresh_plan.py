"""What is to be refreshed, kept true to the pool: an account is planned anew when something about it changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.refresh import NOT_REFRESHED, Periods, Task, TicketKind, first_due
from codex_lb.control.usecases.alert_deliveries import AlertDeliveries
from codex_lb.control.usecases.pool import Member, Pool
from codex_lb.control.usecases.probes import Probes
from codex_lb.control.usecases.refresh_ports import Tickets
from codex_lb.control.usecases.rotations import Rotations


@dataclass(frozen=True, slots=True)
class Planned:
    """What is planned for one account."""

    tasks: frozenset[Task] = frozenset()
    plan: str | None = None  # whose models are listed; None where its login is of no use


NOTHING = Planned()


class RefreshPlan:
    """All tasks there are: usage and rotations of accounts, models of plans, and what people wait for."""

    def __init__(
        self,
        pool: Pool,
        tickets: Tickets,
        rotations: Rotations,
        probes: Probes,
        deliveries: AlertDeliveries,
        *,
        periods: Periods,
    ) -> None:
        self._pool = pool
        self._tickets = tickets
        self._rotations = rotations
        self._probes = probes
        self._deliveries = deliveries
        self._periods = periods
        self._changed = {member.account.account_id for member in pool.members()}
        self._planned: dict[AccountId, Planned] = {}
        self._plans: Counter[str] = Counter()  # accounts of each that can list its models
        self._single: frozenset[Task] = frozenset()  # that are done once
        pool.on_change(self._changed.add)
        rotations.on_change(self._changed.add)

    async def catch_up(self, now: datetime) -> None:
        """Tells the tickets what changed."""
        due: dict[Task, datetime] = {}
        gone: set[Task] = set()
        while self._changed:
            account_id = self._changed.pop()
            self._plan(account_id, self._pool.get(account_id), due, gone, now)
        single = {**self._probes.due(), **self._deliveries.due()}
        gone |= self._single - single.keys()
        self._single = frozenset(single)
        due.update(single)
        if due or gone:
            await self._tickets.plan(due, gone=gone)

    def has(self, task: Task) -> bool:
        """Whether a task is still to be done."""
        match task.kind:
            case TicketKind.USAGE | TicketKind.ROTATION:
                return task in self._planned.get(AccountId(task.subject), NOTHING).tasks
            case TicketKind.MODELS:
                return self._periods.models_s is not None and self._plans[task.subject] > 0
            case TicketKind.PROBE | TicketKind.ALERT:
                return task in self._single

    def _plan(
        self, account_id: AccountId, member: Member | None, due: dict[Task, datetime], gone: set[Task], now: datetime
    ) -> None:
        before = self._planned.pop(account_id, NOTHING)
        of_account = {} if member is None else self._tasks(member, now)
        is_refreshed = member is not None and member.standing_at(now).status not in NOT_REFRESHED
        planned = Planned(frozenset(of_account), member.account.plan if member is not None and is_refreshed else None)
        if member is not None:
            self._planned[account_id] = planned
        due.update(of_account)
        gone |= before.tasks - planned.tasks
        if planned.plan != before.plan and self._periods.models_s is not None:
            self._count(before.plan, planned.plan, due, gone, self._periods.models_s, now)

    def _tasks(self, member: Member, now: datetime) -> Mapping[Task, datetime]:
        tasks = dict(self._rotations.due(member))
        period_s = self._periods.usage_s
        if period_s is not None and member.standing_at(now).status not in NOT_REFRESHED:
            is_urgent = not member.record.usage  # nothing is known yet of what it would find
            usage = Task(TicketKind.USAGE, member.account.account_id)
            tasks[usage] = first_due(usage.subject, period_s=period_s, now=now, is_urgent=is_urgent)
        return tasks

    def _count(
        self,
        before: str | None,
        after: str | None,
        due: dict[Task, datetime],
        gone: set[Task],
        period_s: float,
        now: datetime,
    ) -> None:
        """An account is of another plan now."""
        if after is not None:
            self._plans[after] += 1
            task = Task(TicketKind.MODELS, after)
            gone.discard(task)
            is_urgent = after not in self._pool.catalog.plans
            due[task] = first_due(after, period_s=period_s, now=now, is_urgent=is_urgent)
        if before is not None:
            self._plans[before] -= 1
            if not self._plans[before]:
                del self._plans[before]
                task = Task(TicketKind.MODELS, before)
                due.pop(task, None)
                gone.add(task)
