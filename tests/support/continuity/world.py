"""The pool, upstream and everything between, as a sequence changes it."""

from __future__ import annotations

import asyncio
import random

from codex_lb.control.domain.ids import AccountId, ReplicaId
from codex_lb.control.domain.settings import LiveSettings
from tests.support.continuity.accounts import Call, History, SimAccount
from tests.support.continuity.control import Durable, LocalControl, Site
from tests.support.continuity.gateway import LocalGateway
from tests.support.continuity.upstream import FastUpstream
from tests.support.virtual_time import LoopClock

CALM_S = 10.0  # an account that failed no turn for as long is healthy
KNOWN_S = 0.1  # after a failure is over, control knows of it
ATTACHED_S = 2.5  # after control was started, gateways have told it what they know
SLOTS = (1, 2, 8, 8)  # of every account
NEVER = -1e9


class World:
    """What there is, and what is known of it."""

    def __init__(self, draws: random.Random) -> None:
        self.draws = draws
        self.clock = LoopClock()
        self.history = History(self.clock)
        self.upstream = FastUpstream(self.clock, draws, history=self.history)
        durable = Durable(settings=LiveSettings(account_stream_limit=draws.choice(SLOTS)))
        self.site = Site(durable, self.clock, draws, self.history)
        self.changed: dict[str, float] = {}  # when an account last became able to serve
        self.unable: set[str] = set()
        self.restarted_at = NEVER  # when control was last started again
        self.killed_at: dict[ReplicaId, float] = {}
        self.failed: dict[str, list[tuple[float, ReplicaId]]] = {}  # when a turn failed on an account, and who saw it
        self.answered, self.refused = asyncio.Event(), asyncio.Event()  # set for a moment when a client is told
        self._names = iter(f"a{n}" for n in range(1000))
        self._gateways_made = 0
        self.gateways: list[LocalGateway] = []

    async def start(self) -> None:
        """The first accounts, and everything that runs."""
        await self.site.start()
        for _ in range(self.draws.randint(2, 6)):
            self.add_account()
        self.gateways = [self.new_gateway() for _ in range(self.draws.randint(1, 3))]

    @property
    def control(self) -> LocalControl | None:
        """Control, if it runs."""
        return self.site.control

    def add_account(self) -> None:
        """The operator adds one."""
        name = next(self._names)
        self.upstream.add(name)
        self.changed[name] = self.clock.monotonic()
        if self.control is not None:
            self.control.add(name)

    def new_gateway(self) -> LocalGateway:
        """A gateway starts."""
        self._gateways_made += 1
        wants_sockets = self.draws.random() < 0.2
        name = f"g{self._gateways_made}"
        return LocalGateway(self.site, self.upstream, self.clock, name, wants_sockets=wants_sockets)

    def note_failed(self, calls: list[Call], gateway: ReplicaId) -> None:
        """A turn is over that met these: the accounts whose last call failed it are known to fail."""
        for call in {call.account: call for call in calls}.values():
            if call.failed_at is not None and not call.is_completed:
                self.failed.setdefault(call.account, []).append((call.failed_at, gateway))

    def was_failing(self, call: Call) -> bool:
        """Whether its account was known to fail turns when it was asked."""
        return any(
            call.at - CALM_S <= at <= call.at - KNOWN_S and not self.is_forgotten(at, gateway)
            for at, gateway in self.failed.get(call.account, ())
        )

    def is_forgotten(self, at: float, gateway: ReplicaId) -> bool:
        """Whether control was never told what a gateway saw then, or lost it and could not be told again."""
        until = self.killed_at.get(gateway)
        if until is None:
            return False
        return until < at + KNOWN_S or (at < self.restarted_at and until < self.restarted_at + ATTACHED_S)

    def tell(self, moment: asyncio.Event) -> None:
        """Now is a moment for whoever waits for such."""
        moment.set()
        moment.clear()

    def healthy_since(self, start: float) -> list[str]:
        """Accounts that could have served all the time since then."""
        return [a.name for a in self.upstream.accounts.values() if self._is_healthy(a, start)]

    def _is_healthy(self, account: SimAccount, start: float) -> bool:
        slots = self.site.durable.settings.account_stream_limit
        return (
            AccountId(account.name) in self.site.durable.accounts
            and account.name not in self.unable
            and not account.is_dead
            and not account.script
            and account.silent < slots  # else all are taken by turns that it does not answer
            and account.limited_until < self.clock.now().timestamp() - (self.clock.monotonic() - start) - CALM_S
            and account.last_failed < start - CALM_S
            and self.changed[account.name] < start - CALM_S
        )
