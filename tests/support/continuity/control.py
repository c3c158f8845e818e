"""Control without gRPC and SQL: its real verbs over its real soft state, and a ledger that outlives its restarts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count

from cryptography.fernet import Fernet

from codex_lb.control.coordination.continuities import MemoryContinuities
from codex_lb.control.coordination.memory import MemoryLeases
from codex_lb.control.domain.account import Account, Credential
from codex_lb.control.domain.continuity import Failure
from codex_lb.control.domain.evidence import Evidence, Operated, OperatorAction
from codex_lb.control.domain.ids import AccountId, ReplicaId
from codex_lb.control.domain.lease import Anchor, Lease, Settlement, Wanted
from codex_lb.control.domain.settings import LiveSettings
from codex_lb.control.store.price_file import load_prices
from codex_lb.control.usecases.acquire_lease import AcquireLease
from codex_lb.control.usecases.asked_turn import Granted
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.refusals import Refused
from codex_lb.control.usecases.selector import Selector
from codex_lb.control.usecases.settle_leases import SettleLeases
from codex_lb.control.vault.cipher import FernetVault
from codex_lb.control.vault.key_file import Key
from codex_lb.kit.clock import Clock
from tests.support.continuity.accounts import History
from tests.unit.control.keys import keys_of
from tests.unit.control.leases import ListLedger, account

LEASE_TTL_S = 10.0
LAPSE_EVERY_S = 1.0  # how often somebody looks for gateways that are gone
ANNOUNCING_S = 3.0  # a control that was started before waits as long for gateways to say what they hold
PRICES = load_prices()
VAULT = FernetVault([Key("key-of-tests", Fernet.generate_key())])


@dataclass
class Durable:
    """What a restart of control does not lose."""

    ledger: ListLedger = field(default_factory=ListLedger)
    accounts: dict[AccountId, tuple[Account, str]] = field(default_factory=dict)  # with the access token
    terms: count[int] = field(default_factory=lambda: count(1))
    settings: LiveSettings = field(default_factory=LiveSettings)

    def anchors(self) -> list[tuple[AccountId, Sequence[Anchor]]]:
        """As the store gives them back."""
        return [(s.lease.account_id, s.anchors) for s in self.ledger.settlements if s.anchors]


class LocalControl:
    """One run of control, from its start to its end."""

    def __init__(self, durable: Durable, clock: Clock, draws: random.Random, history: History) -> None:
        self.durable = durable
        self.history = history
        self.clock = clock
        self.pool = Pool(VAULT)
        for known, token in durable.accounts.values():
            self.pool.put(known, VAULT.seal(Credential(token, "refresh", "", None), generation=known.generation))
        for account_id, evidence in durable.ledger.evidence:
            self.pool.observe(account_id, evidence)
        self.leases = MemoryLeases(ttl_s=LEASE_TTL_S)
        self.continuities = MemoryContinuities(clock)
        term, numbers = next(durable.terms), count(1)
        book = SettingsBook(durable.settings)
        keys = keys_of(clock, pool=self.pool, budgets=self.leases.budgets)
        self.acquire = AcquireLease(
            self.pool,
            self.leases,
            Selector(self.pool, self.leases, book, clock, random=draws.random),
            clock,
            term=term,
            book=book,
            continuities=self.continuities,
            limits=keys.limits,
            mend=keys.mend,
            open_from=clock.monotonic() + ANNOUNCING_S if term > 1 else 0.0,
            new_lease_id=lambda: f"lease-{term}-{next(numbers)}",
        )
        self._tasks = [asyncio.create_task(self.acquire.run()), asyncio.create_task(self._lapse())]
        self.settle = SettleLeases(
            self.pool, self.leases, self.continuities, durable.ledger, PRICES, keys.limits, clock
        )
        self.gone = asyncio.Event()

    async def recall(self) -> None:
        """Whose the anchors are, as the store knows it."""
        for account_id, anchors in self.durable.anchors():
            await self.continuities.remember(anchors, account_id)

    def end(self) -> None:
        """Nothing runs any more."""
        self.gone.set()
        for task in self._tasks:
            task.cancel()

    async def granted(self, wanted: Wanted, owner: ReplicaId) -> Granted | Refused | None:
        """A lease or a refusal; None when control is gone before it has an answer."""
        asked = asyncio.ensure_future(self.acquire(wanted, owner))
        gone = asyncio.ensure_future(self.gone.wait())
        try:
            await asyncio.wait([asked, gone], return_when=asyncio.FIRST_COMPLETED)
            answer = asked.result() if asked.done() and not self.gone.is_set() else None
            self._note(wanted, answer)
            return answer
        finally:
            for task in (asked, gone):
                task.cancel()

    async def attach(self, owner: ReplicaId, held: Sequence[Lease], failures: Sequence[Failure]) -> None:
        """A gateway says what it holds, and where turns failed lately."""
        await self.leases.renew(owner, now=self.clock.now())
        await self.leases.reconcile(owner, held)
        for failure in failures:
            await self.settle.failed_before(failure)

    async def take(self, settlements: Sequence[Settlement]) -> None:
        """Settlements arrive."""
        learned = await self.settle.apply(settlements)
        await self.settle.record(settlements, [], learned)

    def add(self, name: str) -> None:
        """A new account."""
        self._put(account(name), f"access-{name}")

    def renew_login(self, account_id: AccountId) -> None:
        """The worker rotated the account's tokens."""
        known, token = self.durable.accounts[account_id]
        self._put(replace(known, generation=known.generation + 1), f"{token}'")

    def delete(self, account_id: AccountId) -> None:
        """The operator removes an account."""
        del self.durable.accounts[account_id]
        self.pool.remove(account_id)

    def pause(self, account_id: AccountId, *, is_paused: bool) -> None:
        """The operator pauses or resumes an account."""
        action = OperatorAction.PAUSED if is_paused else OperatorAction.RESUMED
        self._observe(account_id, Operated(action, self.clock.now()))

    async def _lapse(self) -> None:
        while True:
            await asyncio.sleep(LAPSE_EVERY_S)
            await self.settle.lapse()

    def _note(self, wanted: Wanted, answer: Granted | Refused | None) -> None:
        match answer:
            case Granted(lease=lease):
                told, decision = str(lease.account_id), lease.decision
            case Refused(reason=reason, decision=decision):
                told = reason.value
            case None:
                return
        passed_over = {passed.account_id: passed.reason for passed in decision.passed_over}
        self.history.note(f"  attempt {wanted.attempt} is given {told} ({decision.affinity}), not {passed_over}")

    def _observe(self, account_id: AccountId, evidence: Evidence) -> None:
        self.durable.ledger.evidence.append((account_id, evidence))
        self.pool.observe(account_id, evidence)

    def _put(self, known: Account, token: str) -> None:
        self.durable.accounts[known.account_id] = (known, token)
        self.pool.put(known, VAULT.seal(Credential(token, "refresh", "", None), generation=known.generation))


@dataclass
class Site:
    """Where control runs, if it runs."""

    durable: Durable
    clock: Clock
    draws: random.Random
    history: History
    control: LocalControl | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> LocalControl:
        """Control starts, on what an earlier run left."""
        control = LocalControl(self.durable, self.clock, self.draws, self.history)
        await control.recall()
        self.control = control
        self.started.set()
        return control

    def kill(self) -> None:
        """Control ends without a word; what it had in memory is lost."""
        if self.control is not None:
            self.control.end()
        self.control = None
        self.started = asyncio.Event()

    async def running(self) -> LocalControl:
        """Control, once it runs."""
        while self.control is None:
            await self.started.wait()
        return self.control


CLOCK_AHEAD = timedelta(0)
