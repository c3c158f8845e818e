"""Turns that find no slot: who is served next, what wakes them, and what is left when they are gone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from random import Random

import anyio
import pytest
from msgspec.structs import replace

from codex_lb.control.coordination.continuities import MemoryContinuities
from codex_lb.control.coordination.memory import MemoryLeases
from codex_lb.control.domain.continuity import Failure
from codex_lb.control.domain.evidence import Operated, OperatorAction, RefusalKind, Refused
from codex_lb.control.domain.ids import AccountId, ReplicaId
from codex_lb.control.domain.lease import Continuity, Wanted
from codex_lb.control.domain.settings import LiveSettings
from codex_lb.control.usecases.acquire_lease import AcquireLease
from codex_lb.control.usecases.asked_turn import Granted
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.refusals import RefusalReason
from codex_lb.control.usecases.refusals import Refused as NoLease
from codex_lb.control.usecases.selector import Selector
from codex_lb.control.usecases.waiting_line import KEY_WAITING_MAX
from codex_lb.kit.clock import Clock, SystemClock
from tests.support.virtual_time import LoopClock, run_in_virtual_time
from tests.unit.control.keys import api_key, keys_of
from tests.unit.control.leases import pool_of, wanted

GATEWAY = ReplicaId("g")
KEYS = (*"abcxyz", "busy", "idle", "greedy", "modest")
LONG_S = 60.0  # no test waits this long; it stands for "as long as it takes"


class Desk:
    """Where leases are asked for, with the queue being served."""

    def __init__(
        self,
        pool: Pool,
        *,
        slots: int,
        waiting_max: int = 1000,
        key_slots: int = 0,
        clock: Clock | None = None,
        opens_in_s: float = 0.0,
    ) -> None:
        self.pool = pool
        self.clock = clock or SystemClock()
        self.leases = MemoryLeases(ttl_s=10.0)
        self.continuities = MemoryContinuities(self.clock)
        ids = count(1)
        book = SettingsBook(LiveSettings(account_stream_limit=slots))
        keys = keys_of(
            self.clock,
            *(api_key(name, streams_max=key_slots) for name in KEYS),
            pool=pool,
            budgets=self.leases.budgets,
        )
        self.acquire = AcquireLease(
            pool,
            self.leases,
            Selector(pool, self.leases, book, self.clock, random=Random(1).random),
            self.clock,
            term=1,
            book=book,
            continuities=self.continuities,
            limits=keys.limits,
            mend=keys.mend,
            new_lease_id=lambda: f"lease-{next(ids)}",
            open_from=self.clock.monotonic() + opens_in_s if opens_in_s else 0.0,
            waiting_max=waiting_max,
        )
        self.granted: list[Granted] = []
        self.refused: list[NoLease] = []
        self._news = asyncio.Event()

    async def ask(self, key: str = "", wait_max_s: float = LONG_S) -> None:
        """Asks, and notes the answer."""
        answer = await self.acquire(replace(wanted(wait_max_s=wait_max_s), api_key_id=key), GATEWAY)
        self.granted += [answer] if isinstance(answer, Granted) else []
        self.refused += [answer] if isinstance(answer, NoLease) else []
        self._news.set()

    async def answers(self, number: int) -> None:
        """Returns once there are that many."""
        while len(self.granted) + len(self.refused) < number:
            await self._news.wait()
            self._news.clear()

    async def conversation(self, account: str, *, key: str = "") -> Wanted:
        """A turn of one that an account served last."""
        keys = (b"s" + account.encode(),)
        await self.continuities.bind(keys, AccountId(account))
        return replace(wanted(wait_max_s=8.0), api_key_id=key, continuity=Continuity(affinity_keys=keys))

    async def waited(self, wants: Wanted, *, behind: Wanted, ending_after_s: float) -> float:
        """How long a turn waits behind another that ends after a while."""
        before = await self.acquire(behind, GATEWAY)
        assert isinstance(before, Granted)
        waiting = asyncio.create_task(self.acquire(wants, GATEWAY))
        await asyncio.sleep(ending_after_s)
        await self.end(before)
        served = await waiting
        assert isinstance(served, Granted)
        return served.lease.decision.waited_s

    async def end(self, granted: Granted) -> None:
        """A turn is over."""
        await self.leases.end(granted.lease.lease_id, epoch=granted.lease.epoch)


@asynccontextmanager
async def open_desk(
    pool: Pool,
    *,
    slots: int = 1,
    waiting_max: int = 1000,
    key_slots: int = 0,
    clock: Clock | None = None,
    opens_in_s: float = 0.0,
) -> AsyncIterator[Desk]:
    """A desk whose queue is served for the time of the block."""
    desk = Desk(pool, slots=slots, waiting_max=waiting_max, key_slots=key_slots, clock=clock, opens_in_s=opens_in_s)
    async with anyio.create_task_group() as serving:
        serving.start_soon(desk.acquire.run)
        yield desk
        serving.cancel_scope.cancel()


async def test_slots_go_to_the_key_that_has_least() -> None:
    async with open_desk(pool_of("a"), slots=2) as desk:
        await desk.ask("greedy")
        await desk.ask("greedy")
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(desk.ask, "greedy")
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(desk.ask, "modest")
            await anyio.wait_all_tasks_blocked()
            await desk.end(desk.granted[0])
            await desk.answers(3)
            tasks.cancel_scope.cancel()

    assert desk.granted[2].lease.api_key_id == "modest"
    assert desk.granted[2].lease.decision.position == 6


async def test_keys_that_ask_very_differently_get_the_same() -> None:
    """Thirty turns at a time from three keys, one of them with most; three slots, each kept for a moment."""
    served: Counter[str] = Counter()
    enough = anyio.Event()
    async with open_desk(pool_of("a"), slots=3) as desk:

        async def turns(key: str) -> None:
            while True:
                answer = await desk.acquire(replace(wanted(wait_max_s=LONG_S), api_key_id=key), GATEWAY)
                assert isinstance(answer, Granted)
                assert desk.leases.in_use(AccountId("a")) <= 3
                served[key] += 1
                if served.total() >= 300:
                    enough.set()
                await anyio.sleep(0.001)
                await desk.end(answer)

        async with anyio.create_task_group() as tasks:
            for key, clients in (("a", 24), ("b", 3), ("c", 3)):
                for _ in range(clients):
                    tasks.start_soon(turns, key)
            await enough.wait()
            tasks.cancel_scope.cancel()

    assert min(served.values()) >= 0.8 * served.total() / 3


@pytest.mark.parametrize("how", ["an account is added", "an account is resumed", "a window starts anew"])
async def test_a_waiting_turn_is_served_by_an_account_that_comes_back(how: str) -> None:
    pool = pool_of("a", "b")
    now = SystemClock().now()
    b = pool.get(AccountId("b"))
    assert b is not None
    match how:
        case "an account is added":
            pool.remove(AccountId("b"))
        case "an account is resumed":
            pool.observe(AccountId("b"), Operated(OperatorAction.PAUSED, now))
        case _:
            until = now + timedelta(seconds=0.05)
            pool.observe(AccountId("b"), Refused(RefusalKind.RATE, "usage_limit_reached", until, now))
    async with open_desk(pool) as desk:
        await desk.ask()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.ask)
            await anyio.wait_all_tasks_blocked()
            if how == "an account is added":
                pool.put(b.account, b.sealed)
            elif how == "an account is resumed":
                pool.observe(AccountId("b"), Operated(OperatorAction.RESUMED, now + timedelta(seconds=1)))

    assert [granted.lease.account_id for granted in desk.granted] == ["a", "b"]


async def test_a_turn_is_refused_as_soon_as_waiting_has_become_hopeless() -> None:
    pool = pool_of("a")
    async with open_desk(pool) as desk:
        await desk.ask()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.ask)
            await anyio.wait_all_tasks_blocked()
            now = SystemClock().now()
            until = now + timedelta(days=3)
            pool.observe(AccountId("a"), Refused(RefusalKind.QUOTA, "usage_limit_reached", until, now))

    assert [refused.reason for refused in desk.refused] == [RefusalReason.POOL_EXHAUSTED]


async def test_a_turn_whose_key_runs_all_it_may_waits_for_the_key_and_keeps_nobody_else_waiting() -> None:
    async with open_desk(pool_of("a", "b"), slots=10, key_slots=1) as desk:
        await desk.ask("busy")
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(desk.ask, "busy")
            await anyio.wait_all_tasks_blocked()
            waiting = desk.acquire.waiting
            await desk.ask("idle")
            for served in range(3):
                [running] = [x for x in desk.granted if x.lease.api_key_id == "busy"][served:]
                await desk.end(running)
                await desk.answers(served + 3)

    assert waiting == 3
    assert [granted.lease.api_key_id for granted in desk.granted] == ["busy", "idle", "busy", "busy", "busy"]
    assert [granted.lease.decision.position for granted in desk.granted] == [0, 4, 1, 2, 3]


async def test_a_turn_that_has_waited_for_its_key_in_vain_is_told_so_and_the_record_has_the_reason() -> None:
    async with open_desk(pool_of("a", "b"), slots=10, key_slots=1) as desk:
        await desk.ask("busy")
        await desk.ask("busy", wait_max_s=0.02)

    [refused] = desk.refused
    assert refused.reason is RefusalReason.KEY_LIMIT_REACHED
    assert refused.message.startswith("API key may run 1 turns at once")
    assert refused.retry_at is not None
    assert (refused.decision.eligible, refused.decision.passed_over_counts) == (0, {"key_busy": 2})
    assert refused.decision.waited_s >= 0.018  # a loop's timers are a millisecond coarse


async def test_a_turn_whose_key_is_busy_is_refused_at_once_when_no_account_could_serve_it() -> None:
    pool = pool_of("a")
    async with open_desk(pool, slots=10, key_slots=1) as desk:
        await desk.ask("busy")
        now = SystemClock().now()
        until = now + timedelta(days=3)
        pool.observe(AccountId("a"), Refused(RefusalKind.QUOTA, "usage_limit_reached", until, now))
        await desk.ask("busy")

    assert [refused.reason for refused in desk.refused] == [RefusalReason.POOL_EXHAUSTED]


async def test_turns_of_one_busy_key_do_not_fill_the_queue_of_all() -> None:
    async with open_desk(pool_of("a"), slots=10, waiting_max=KEY_WAITING_MAX + 1, key_slots=1) as desk:
        await desk.ask("busy")
        async with anyio.create_task_group() as tasks:
            for _ in range(KEY_WAITING_MAX):
                tasks.start_soon(desk.ask, "busy")
            await anyio.wait_all_tasks_blocked()
            await desk.ask("busy")
            await desk.ask("idle")
            tasks.cancel_scope.cancel()

    assert [refused.reason for refused in desk.refused] == [RefusalReason.KEY_LIMIT_REACHED]
    assert [granted.lease.api_key_id for granted in desk.granted] == ["busy", "idle"]


def test_a_turn_whose_account_has_a_slot_is_not_held_up_by_one_that_waits_for_another_account() -> None:
    async def story() -> list[float]:
        async with open_desk(pool_of("full", "other"), slots=2, clock=LoopClock()) as desk:
            of_full, of_other = await desk.conversation("full"), await desk.conversation("other")
            for _ in range(2):
                await desk.acquire(of_full, GATEWAY)
            answers = await asyncio.gather(desk.acquire(of_full, GATEWAY), desk.acquire(of_other, GATEWAY))
            return [answer.lease.decision.waited_s for answer in answers if isinstance(answer, Granted)]

    assert run_in_virtual_time(story()) == pytest.approx([4.0, 0.0], abs=0.1)


def test_a_turn_that_waits_for_an_account_is_served_as_soon_as_that_has_a_slot() -> None:
    async def story() -> float:
        async with open_desk(pool_of("a", "b"), clock=LoopClock()) as desk:
            wants = await desk.conversation("a")
            return await desk.waited(wants, behind=wants, ending_after_s=1.25)

    assert run_in_virtual_time(story()) == pytest.approx(1.25, abs=0.02)


def test_a_turn_that_waits_for_its_key_is_served_as_soon_as_that_is_free_though_its_account_always_was() -> None:
    async def story() -> float:
        async with open_desk(pool_of("a", "b"), key_slots=1, clock=LoopClock()) as desk:
            here, there = await desk.conversation("a", key="x"), await desk.conversation("b", key="x")
            return await desk.waited(here, behind=there, ending_after_s=1.25)

    assert run_in_virtual_time(story()) == pytest.approx(1.25, abs=0.02)


@pytest.mark.parametrize(("freed_after_s", "served_by"), [(3.5, "calm"), (6.0, "failed")])
def test_a_conversation_that_failed_waits_a_moment_for_a_slot_where_it_did_not(
    freed_after_s: float, served_by: str
) -> None:
    async def story() -> tuple[float, list[str]]:
        async with open_desk(pool_of("calm", "failed"), clock=LoopClock()) as desk:
            await desk.continuities.note_failure(Failure((b"s",), AccountId("failed")))
            hurt = replace(wanted(wait_max_s=8.0), continuity=Continuity(affinity_keys=(b"s",)))
            busy = await desk.acquire(hurt, GATEWAY)
            assert isinstance(busy, Granted)
            async with anyio.create_task_group() as tasks:

                async def free() -> None:
                    await anyio.sleep(freed_after_s)
                    await desk.end(busy)

                tasks.start_soon(free)
                granted = await desk.acquire(hurt, GATEWAY)
            assert isinstance(granted, Granted)
            return granted.lease.decision.waited_s, [one.lease.account_id for one in (busy, granted)]

    waited_s, accounts = run_in_virtual_time(story())

    assert accounts == ["calm", served_by]
    assert waited_s == pytest.approx(min(freed_after_s, 4.0), abs=0.1)


def test_a_conversation_that_failed_takes_any_account_that_did_not_fail_it_and_waits_for_none() -> None:
    async def story() -> list[tuple[str, float]]:
        async with open_desk(pool_of("full", "failed", "other"), clock=LoopClock()) as desk:
            wants = await desk.conversation("full")
            before = await desk.acquire(wants, GATEWAY)
            await desk.continuities.note_failure(Failure(wants.continuity.affinity_keys, AccountId("failed")))
            answers = [before, await desk.acquire(wants, GATEWAY)]
            return [(a.lease.account_id, a.lease.decision.waited_s) for a in answers if isinstance(a, Granted)]

    assert run_in_virtual_time(story()) == [("full", 0.0), ("other", 0.0)]


def test_a_conversation_holds_out_from_when_a_control_that_was_started_serves_anybody_at_all() -> None:
    async def story() -> tuple[str, float]:
        async with open_desk(pool_of("calm", "failed"), clock=LoopClock(), opens_in_s=3.0) as desk:
            await desk.continuities.note_failure(Failure((b"s",), AccountId("failed")))
            hurt = replace(wanted(wait_max_s=8.0), continuity=Continuity(affinity_keys=(b"s",)))
            asking = [asyncio.create_task(desk.acquire(hurt, GATEWAY)) for _ in range(2)]
            before = await asking[0]
            assert isinstance(before, Granted)
            await asyncio.sleep(2.0)
            await desk.end(before)
            served = await asking[1]
            assert isinstance(served, Granted)
            return served.lease.account_id, served.lease.decision.waited_s

    account_id, waited_s = run_in_virtual_time(story())

    assert account_id == "calm"
    assert waited_s == pytest.approx(5.0, abs=0.1)


async def test_a_full_queue_says_that_the_pool_is_busy() -> None:
    async with open_desk(pool_of("a"), waiting_max=1) as desk:
        await desk.ask()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.ask)
            await anyio.wait_all_tasks_blocked()
            await desk.ask()
            tasks.cancel_scope.cancel()

    assert [refused.reason for refused in desk.refused] == [RefusalReason.POOL_BUSY]
    assert desk.acquire.waiting == 0


async def test_no_slot_leaks_however_turns_come_wait_and_go() -> None:
    """Turns of random patience that are cancelled, time out or end, in any interleaving."""
    random = Random(7)
    async with open_desk(pool_of("a", "b"), slots=2) as desk:

        async def turn() -> None:
            with anyio.move_on_after(random.choice([0.0, 0.001, 0.005, 1.0])):
                answer = await desk.acquire(
                    replace(wanted(wait_max_s=random.choice([0.0, 0.001, LONG_S])), api_key_id=random.choice("xyz")),
                    GATEWAY,
                )
                if isinstance(answer, Granted):
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(random.choice([0.0, 0.0005]))
                        await desk.end(answer)

        for _ in range(100):
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(turn)

    assert (desk.leases.held(), desk.acquire.waiting) == (0, 0)
