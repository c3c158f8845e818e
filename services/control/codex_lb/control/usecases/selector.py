"""Keeps the roster true to the pool, the lease table and the clock, and asks it who serves a turn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec.structs import replace

from codex_lb.control.domain.account import capacity
from codex_lb.control.domain.candidate import Candidate
from codex_lb.control.domain.deadlines import Deadlines
from codex_lb.control.domain.evidence import Standing, UsageSeen
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.roster import Roster
from codex_lb.control.domain.selection import Choice, Question, rules_of
from codex_lb.control.domain.settings import LiveSettings
from codex_lb.control.domain.window import WindowKind
from codex_lb.control.usecases.lease_ports import Leases
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.pool import Member, Pool
from codex_lb.kit.clock import Clock

PROBE_SILENT = timedelta(seconds=5)  # a refusal comes at once: a probe that was not refused by then lets others try


class Selector:
    """The roster of the pool. What changed is put anew when somebody next asks, each account once."""

    def __init__(
        self, pool: Pool, leases: Leases, book: SettingsBook, clock: Clock, *, random: Callable[[], float]
    ) -> None:
        self._pool = pool
        self._leases = leases
        self._book = book
        self._clock = clock
        self._random = random
        self._changed: set[AccountId] = set()
        self._moved: set[AccountId] = set()  # whose slots were taken or freed, and as a rule no more
        self._due: Deadlines[AccountId] = Deadlines()  # when time alone changes what an account can do
        self._roster = Roster(rules_of(book.now))
        pool.on_change(self._changed.add)
        leases.on_change(self._moved.add)
        book.on_change(self._take_settings)

    def plans_offering(self, model: str) -> frozenset[str] | None:
        """The plans that may be asked for a model; None where nobody knows it, or none is named."""
        listed = self._pool.catalog.by_slug.get(model)
        return None if listed is None else listed.plans

    def choose(self, question: Question) -> Choice:
        """Who serves the turn, as things stand."""
        self._catch_up()
        return self._roster.choose(question, self._random())

    def has_open(self) -> bool:
        """Whether anybody could serve anything."""
        self._catch_up()
        return self._roster.has_open

    def next_change_in(self) -> float | None:
        """Seconds until time alone changes what some account can do; None when it never does."""
        self._catch_up()
        first = self._due.first
        return None if first is None else max(0.0, (first - self._clock.now()).total_seconds())

    def _take_settings(self, settings: LiveSettings) -> None:
        self._roster = Roster(rules_of(settings))
        self._due = Deadlines()
        self._changed.update(member.account.account_id for member in self._pool.members())

    def _catch_up(self) -> None:
        now, leases, roster = self._clock.now(), self._leases, self._roster
        self._changed.update(self._due.passed(now))
        while self._moved:
            account_id = self._moved.pop()
            known = roster.get(account_id)
            if known is None or known.is_probing:  # turns that probe have a say in when an account changes next
                self._changed.add(account_id)
            elif account_id not in self._changed:
                roster.put(
                    replace(
                        known,
                        in_use=leases.in_use(account_id),
                        creating=leases.creating(account_id),
                        last_chosen=leases.last_granted(account_id),
                    )
                )
        while self._changed:
            self._put(self._changed.pop(), now)

    def _put(self, account_id: AccountId, now: datetime) -> None:
        member = self._pool.get(account_id)
        if member is None:
            self._roster.remove(account_id)
            self._due.set(account_id, None)
            return
        candidate = self._candidate(member, now)
        self._roster.put(candidate)
        self._due.set(account_id, changing_at(candidate, now))

    def _candidate(self, member: Member, now: datetime) -> Candidate:
        account, leases, settings = member.account, self._leases, self._book.now
        known = member.standing_at(now)
        usage = member.record.usage
        long = usage.get(WindowKind.SECONDARY) or usage.get(WindowKind.MONTHLY)
        short = usage.get(WindowKind.PRIMARY)
        return Candidate(
            account_id=account.account_id,
            status=known.status,
            until=known.until,
            is_probing=known.is_probing,
            is_at_rate=known.reason == "rate_limit_exceeded",
            probes=self._probes(account.account_id, known, now),
            plan=account.plan,
            long_used_percent=used(long, now),
            short_used_percent=used(short, now),
            long_capacity=capacity(account.plan, WindowKind.SECONDARY),
            in_use=leases.in_use(account.account_id),
            slots=settings.account_stream_limit,
            creating=leases.creating(account.account_id),
            create_slots=settings.account_create_limit,
            long_resets_at=resets_at(long, now),
            short_resets_at=resets_at(short, now),
            priority=account.priority,
            routing_policy=account.routing_policy,
            stop_percent=account.stop_percent,
            last_chosen=leases.last_granted(account.account_id),
        )

    def _probes(self, account_id: AccountId, known: Standing, now: datetime) -> int:
        """Turns that try the account and may still say how it stands."""
        if known.probing_since is None:
            return 0
        return self._leases.granted_since(account_id, max(known.probing_since, now - PROBE_SILENT))


def changing_at(candidate: Candidate, now: datetime) -> datetime | None:
    """When time alone changes the account next: its status ends, a window starts anew, a probe is silent."""
    silent_at = now + PROBE_SILENT if candidate.is_probing and candidate.probes else None
    instants = (candidate.until, candidate.long_resets_at, candidate.short_resets_at, silent_at)
    return min((at for at in instants if at is not None and at > now), default=None)


def used(seen: UsageSeen | None, now: datetime) -> float:
    """Share used of a window; one that nobody has seen is taken for empty."""
    return 0.0 if seen is None else seen.window.used_percent_at(now)


def resets_at(seen: UsageSeen | None, now: datetime) -> datetime | None:
    """When a window starts anew, where that is known and still to come."""
    at = seen.window.resets_at if seen is not None else None
    return at if at is not None and at > now else None
