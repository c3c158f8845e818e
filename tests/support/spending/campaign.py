"""Random steps of keys that spend, checked against a model that remembers everything that ever happened.

Turns are granted exactly when there is room by that, and what is counted is what a sum over it says, whoever was killed
between which two steps and whatever Redis forgot or did not hear. Run: python -m tests.support.spending 2000 [SEED]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from random import Random

from codex_lb.control.coordination.memory import MemoryLeases
from codex_lb.control.coordination.redis import RedisLeases
from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.ids import LeaseId, ReplicaId
from codex_lb.control.domain.lease import Settlement
from codex_lb.control.domain.limit import Limit, LimitUnit, LimitWindow
from codex_lb.control.store.database import Database
from codex_lb.control.usecases.asked_turn import Granted
from codex_lb.control.usecases.limit_ports import BudgetUse
from codex_lb.control.usecases.refusals import RefusalReason
from tests.support.clock import NOON, FakeClock
from tests.support.spending.model import Fact, Gateway, has_room, use_of
from tests.support.spending.world import (
    ControlOfTest,
    Faults,
    RunningControl,
    ended,
    memory_leases,
    open_control,
)

SIX_HOURS_S = 21_600.0
HEARD_EVERY_S = 2.0
MISSED = timedelta(seconds=3)  # what a gateway does not announce keeps its reservation for so long
LOST_SHARE = 0.02  # of calls to Redis
TOKENS = Limit("", LimitUnit.TOTAL_TOKENS, LimitWindow.DAY, "", 500, NOON)
WEEKLY_TOKENS = replace(TOKENS, window=LimitWindow.WEEK, amount_max=1_200)
REQUESTS = Limit("", LimitUnit.REQUESTS, LimitWindow.FIVE_HOURS, "", 8, NOON)
CHOICES = ((TOKENS,), (TOKENS, REQUESTS), (WEEKLY_TOKENS, REQUESTS), (TOKENS, WEEKLY_TOKENS), ())

numbers = count(1)


class Campaign:
    """One control on its memory."""

    def __init__(self, seed: int, store: Database) -> None:
        self.random = Random(seed)
        self.store = store
        self.clock = FakeClock()
        self.faults = Faults(Random(seed))
        self.facts: dict[LeaseId, Fact] = {}
        self.abandoned: list[LeaseId] = []
        self.gateways = [self._new_gateway() for _ in range(3)]
        self.controls: list[ControlOfTest] = []
        self.running: list[RunningControl] = []
        self.slow: list[tuple[ControlOfTest, Gateway, Settlement]] = []  # settled, and not recorded yet
        self.history: list[str] = []
        self.done: Counter[str] = Counter()

    async def run(self, steps: int) -> Counter[str]:
        """Takes the steps, then lets everything end; how often each was taken."""
        await self.open()
        moves: list[Callable[[], Awaitable[None]]] = [self.ask] * 12 + [self.end] * 7 + [self.time_passes] * 3
        moves += [self.end_slowly, self.commit_slowly] * 3 + [self.end_unheard] * 2
        moves += [self.end_and_control_dies, self.silence, self.hear_again, self.gateway_dies, self.attach_anew] * 2
        moves += [
            self.control_dies,
            self.control_dies_with_what_lapsed,
            self.window_ends,
            self.change_limits,
            self.reset,
        ]
        moves += self.more_moves()
        for _ in range(steps):
            move = self.random.choice(moves)
            self.done[move.__name__] += 1
            self.faults.share = LOST_SHARE
            await self._take(move)
            self.faults.share = 0.0
            await self.settle_debts()
            if self.random.random() < 0.5:
                await self.look()
        await self.wind_up()
        return self.done

    async def open(self) -> None:
        """Starts everything, with a key that has two limits."""
        await self.start_controls()
        self.key, _ = await self.controls[0].keep.create(lambda blank: replace(blank, name="key", limits=CHOICES[1]))
        for control in self.controls:
            await control.adopt.all()
        for gateway in self.gateways:
            await self.attach(gateway)

    async def start_controls(self) -> None:
        """The only one."""
        await self.start(0)

    async def start(self, place: int) -> None:
        """A control."""
        running = RunningControl(open_control(self.leases(), self.store, self.clock, self.abandoned))
        self.running[place : place + 1] = [running]
        self.controls[place : place + 1] = [await running.opened()]

    def leases(self) -> AbstractAsyncContextManager[MemoryLeases | RedisLeases]:
        """Its lease table."""
        return memory_leases()

    def more_moves(self) -> list[Callable[[], Awaitable[None]]]:
        """What else can happen."""
        return []

    async def _take(self, move: Callable[[], Awaitable[None]]) -> None:
        self.history.append(move.__name__)
        try:
            await move()
        except AssertionError as error:
            raise AssertionError(f"after {len(self.history)} steps, the last {self.history[-25:]}: {error}") from error

    # What must be so

    def use_of(self, limit: Limit) -> BudgetUse:
        """How a limit must stand."""
        return use_of(self.facts.values(), limit, self.clock.now())

    def has_room(self, tokens: int) -> bool:
        """Whether a turn that may use so many tokens must be let through."""
        return has_room(tokens, [(limit, self.use_of(limit)) for limit in self.key.limits])

    async def look(self) -> None:
        """What is counted is what must be."""
        control = self.random.choice(self.controls)
        await control.adopt.all()
        counted = dict(await control.limits.use_of(self.key))
        expected = {limit.limit_id: self.use_of(limit) for limit in self.key.limits}
        assert counted == expected, f"{counted} is counted, not {expected}, after {self.history[-25:]}"

    # What happens

    async def ask(self) -> None:
        """A turn asks; now and then its grant is lost on the way."""
        gateway, tokens = self.random.choice(self.gateways), self.random.randint(1, 150)
        if gateway.is_silent:
            return
        expected, faults = self.has_room(tokens), self.faults.drawn
        answer = await self.controls[gateway.place].ask(gateway.replica_id, self.key, tokens)
        if not isinstance(answer, Granted):
            self.done["refused"] += 1
            is_cut_off = self.faults.drawn > faults
            assert not expected or is_cut_off, f"refused although there is room: {answer.message}"
            assert is_cut_off or answer.reason is RefusalReason.KEY_LIMIT_REACHED, answer.message
            return
        assert expected, "granted although there is no room"
        self.done["granted"] += 1
        self.facts[answer.lease.lease_id] = Fact(answer.lease, gateway.replica_id)
        if self.random.random() < 0.9:
            gateway.held[answer.lease.lease_id] = answer.lease

    def _ending(self) -> tuple[Gateway, Fact, Settlement] | None:
        """A turn that ends, if one can."""
        holding = [gateway for gateway in self.gateways if gateway.held and not gateway.is_silent]
        if not holding:
            return None
        gateway = self.random.choice(holding)
        lease = gateway.held.pop(self.random.choice(list(gateway.held)))
        return gateway, self.facts[lease.lease_id], ended(lease, self.random.randint(1, 200))

    async def end(self) -> None:
        """A turn ends, with less or more than it had reserved; now and then that is said twice."""
        if (ending := self._ending()) is not None:
            gateway, fact, settlement = ending
            for _ in range(self.random.choice([1, 1, 1, 2])):
                await self.controls[gateway.place].end([settlement])
            assert settlement.usage is not None
            fact.end(settlement.usage.total_tokens)

    async def end_and_control_dies(self) -> None:
        """Before the settlement is committed, or before Redis is told that it is."""
        if (ending := self._ending()) is not None:
            self.faults.share = 0.0  # what Redis did not hear would be known to nobody until it comes again
            gateway, fact, settlement = ending
            gateway.is_silent = self.random.random() < 0.5
            place = gateway.place
            gateway.unacknowledged[fact.lease.lease_id] = settlement
            learned = await self.controls[place].settle.apply([settlement])
            self._ended(fact, settlement, self.controls[place])
            self.slow.append((self.controls[place], gateway, settlement))
            if self.random.random() < 0.5:
                await self.controls[place].ledger.write([settlement], [], learned)
                fact.is_committed = True
            await self.kill(place)

    async def end_unheard(self) -> None:
        """A turn ends and is recorded, but Redis could not be told before the control died."""
        if (ending := self._ending()) is not None:
            gateway, fact, settlement = ending
            gateway.is_silent = self.random.random() < 0.5
            await self.controls[gateway.place].ledger.write([settlement], [], [])
            assert settlement.usage is not None
            fact.used, fact.is_committed = settlement.usage.total_tokens, True
            await self.kill(gateway.place)

    async def end_slowly(self) -> None:
        """A turn ends, and the database takes its time."""
        if (ending := self._ending()) is not None:
            gateway, fact, settlement = ending
            control = self.controls[gateway.place]
            gateway.unacknowledged[fact.lease.lease_id] = settlement
            await control.settle.apply([settlement])
            self._ended(fact, settlement, control)
            self.slow.append((control, gateway, settlement))

    def _ended(self, fact: Fact, settlement: Settlement, control: ControlOfTest) -> None:
        """It has ended, and is not recorded."""
        assert settlement.usage is not None
        fact.used, fact.is_held, fact.is_known = settlement.usage.total_tokens, False, True
        fact.is_counted = bool(self.key.limits or control.book.key(self.key.api_key_id).limits)

    async def commit_slowly(self) -> None:
        """It has taken its time, and the gateway is told."""
        if self.slow:
            control, gateway, settlement = self.slow.pop(self.random.randrange(len(self.slow)))
            await control.settle.record([settlement], [], [])
            gateway.unacknowledged.pop(settlement.lease.lease_id, None)
            assert settlement.usage is not None
            self.facts[settlement.lease.lease_id].end(settlement.usage.total_tokens)

    async def control_dies(self) -> None:
        """And is started anew."""
        await self.kill(self.random.randrange(len(self.controls)))

    async def control_dies_with_what_lapsed(self) -> None:
        """It was given what silent gateways held, and does nothing with it any more."""
        place = self.random.randrange(len(self.controls))
        self.faults.share = 0.0
        for _ in range(4):
            self.clock.advance(HEARD_EVERY_S * 1.5)
            await self._renew()
            for lease in await self.controls[place].leases.lapse(now=self.clock.now()):
                fact = self.facts[lease.lease_id]
                fact.is_lapsed = fact.is_held = fact.is_known = True  # also one that had ended, and was not recorded
        self._give_up_what_is_missed()
        await self.kill(place)

    async def kill(self, place: int) -> None:
        """What was in the memory of the only control is lost; whoever hears of it attaches anew."""
        await self._kill(place)
        self._forget()
        await self.start(place)
        for gateway in self.gateways:
            if not gateway.is_silent:
                await self.attach(gateway)

    async def _kill(self, place: int) -> None:
        lost = [one for one in self.slow if one[0] is self.controls[place]]
        self.slow = [one for one in self.slow if one not in lost]
        for _, _, settlement in lost:  # only this control knew of what nobody counted; it comes again
            fact = self.facts[settlement.lease.lease_id]
            fact.is_known = fact.is_known and fact.is_counted
        await self.running[place].kill()

    def _forget(self) -> None:
        """The counters are lost; what nobody will announce is gone."""
        announced = {lease_id for gateway in self.gateways for lease_id in gateway.held}
        for lease_id, fact in self.facts.items():
            fact.is_known = False
            if lease_id not in announced:
                fact.is_held, fact.missed_at = False, None

    async def attach_anew(self) -> None:
        """A gateway's stream breaks."""
        gateway = self.random.choice(self.gateways)
        if not gateway.is_silent:
            await self.attach(gateway)

    async def attach(self, gateway: Gateway) -> None:
        """A gateway says what it holds; what it was granted and never got is missed."""
        self.faults.share = 0.0  # a control that cannot pass it on would ask for it again
        gateway.place = self.random.randrange(len(self.controls))
        await self.controls[gateway.place].follows()
        settlements = list(gateway.unacknowledged.values())
        await self.controls[gateway.place].hear(
            gateway.replica_id, list(gateway.held.values()), settlements, self.clock
        )
        for lease_id, fact in self.facts.items():
            if lease_id in gateway.held:
                fact.is_held, fact.is_known, fact.is_lapsed = True, True, False
            elif fact.is_held and fact.owner == gateway.replica_id and not (fact.missed_at or fact.is_lapsed):
                fact.missed_at = self.clock.now()
        for settlement in settlements:
            assert settlement.usage is not None
            self.facts[settlement.lease.lease_id].end(settlement.usage.total_tokens)
        gateway.unacknowledged.clear()
        for one in self.controls:
            await self._look_for_silent(one)

    async def silence(self) -> None:
        """A gateway is cut off."""
        self.random.choice(self.gateways).is_silent = True

    async def hear_again(self) -> None:
        """A silent gateway is heard again."""
        for gateway in self.gateways:
            if gateway.is_silent:
                gateway.is_silent = False
                await self.attach(gateway)
                return

    async def gateway_dies(self) -> None:
        """For good, with what it holds and what it was never told to be recorded."""
        self.gateways[self.random.randrange(len(self.gateways))] = gateway = self._new_gateway()
        await self.attach(gateway)

    async def time_passes(self) -> None:
        """Gateways are heard, and somebody looks for those that are not."""
        for _ in range(self.random.choice([1, 2, 7, 40])):
            self.clock.advance(HEARD_EVERY_S)
            await self._renew()
            for control in self.controls:
                await self._look_for_silent(control)
            self._give_up_what_is_missed()

    async def window_ends(self) -> None:
        """Time enough for some windows, and for any database."""
        while self.slow:
            await self.commit_slowly()
        self.clock.advance(SIX_HOURS_S)
        await self._renew()
        for control in (*self.controls, *self.controls):  # the first one finds that nobody has looked for long
            await self._look_for_silent(control)
        self._give_up_what_is_missed()

    async def change_limits(self) -> None:
        """An operator gives the key other limits, or other amounts."""
        limits = self.random.choice(CHOICES)
        more = self.random.choice([1, 2])
        limits = tuple(replace(limit, amount_max=limit.amount_max * more) for limit in limits)
        await self._update(lambda key: replace(key, limits=limits))

    async def reset(self) -> None:
        """An operator begins the count anew."""
        now = self.clock.now()
        await self._update(lambda key: replace(key, limits=tuple(replace(x, reset_at=now) for x in key.limits)))
        self.clock.advance(0.001)  # an instant of its own

    async def _update(self, change: Callable[[ApiKey], ApiKey]) -> None:
        control = self.random.choice(self.controls)
        await control.adopt.all()
        self.key = await control.keep.update(self.key.api_key_id, change)
        if self.slow or self.random.random() < 0.5:  # else a control learns of it when it asks Redis
            for other in self.controls:
                await other.adopt.all()
        for _, _, settlement in self.slow:
            self.facts[settlement.lease.lease_id].is_counted |= bool(self.key.limits)

    async def settle_debts(self) -> None:
        """Redis is told what it could not be told."""
        for control in self.controls:
            await control.follows()
            await self._look_for_silent(control)

    async def wind_up(self) -> None:
        """Everybody is heard again and ends what is held; nothing stays reserved, and all agree."""
        for gateway in self.gateways:
            gateway.is_silent = False
            await self.attach(gateway)
            for lease in gateway.held.values():
                await self.controls[gateway.place].end([ended(lease, 5)])
                self.facts[lease.lease_id].end(5)
            gateway.held.clear()
        for _ in range(50):
            await self.time_passes()
        for control in self.controls:
            await control.adopt.all()
            counted = dict(await control.limits.use_of(self.key))
            assert counted == {limit.limit_id: BudgetUse(self.use_of(limit).used, 0) for limit in self.key.limits}
        for running in self.running:
            await running.kill()

    async def _renew(self) -> None:
        for gateway in self.gateways:
            if not gateway.is_silent:
                await self.controls[gateway.place].leases.renew(gateway.replica_id, now=self.clock.now())

    async def _look_for_silent(self, control: ControlOfTest) -> None:
        share, self.faults.share = (
            self.faults.share,
            0.0,
        )  # what lapsed unheard is told again, which the model does not know
        await control.settle.lapse()
        self.faults.share = share
        for lease_id in self.abandoned:
            fact = self.facts[lease_id]
            fact.is_held, fact.is_guessed, fact.missed_at = False, True, None
            if not fact.is_committed:
                fact.used = None
        self.abandoned.clear()

    def _give_up_what_is_missed(self) -> None:
        for fact in self.facts.values():
            if fact.missed_at is not None and self.clock.now() - fact.missed_at >= MISSED:
                fact.is_held, fact.missed_at = False, None

    def _new_gateway(self) -> Gateway:
        return Gateway(ReplicaId(f"gateway-{next(numbers)}"))
