"""Granting leases: slots, waits, refusals in words, and the grace after a restart."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import anyio
import pytest
from cryptography.fernet import Fernet
from msgspec.structs import replace

from codex_lb.control.coordination.continuities import MemoryContinuities
from codex_lb.control.coordination.memory import MemoryLeases
from codex_lb.control.domain.account import Credential
from codex_lb.control.domain.catalog import catalog_of
from codex_lb.control.domain.continuity import Failure
from codex_lb.control.domain.evidence import LoginRejected, RefusalKind, Refused
from codex_lb.control.domain.ids import AccountId, ReplicaId
from codex_lb.control.domain.lease import Continuity, epoch_of
from codex_lb.control.domain.settings import LiveSettings
from codex_lb.control.usecases.acquire_lease import AcquireLease
from codex_lb.control.usecases.asked_turn import Granted
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.refusals import RefusalReason
from codex_lb.control.usecases.refusals import Refused as NoLease
from codex_lb.control.usecases.selector import Selector
from codex_lb.control.vault.cipher import FernetVault
from codex_lb.control.vault.key_file import Key
from codex_lb.kit.clock import Clock, SystemClock
from tests.support.clock import NOON, FakeClock
from tests.unit.control.keys import keys_of
from tests.unit.control.leases import account, pool_of, wanted

GATEWAY = ReplicaId("g")
LONG_S = 60.0  # no test waits this long; it stands for "as long as it takes"


class LaggingClock(SystemClock):
    """Gets on at half the speed of a loop's timers, which may fire early: by microseconds, otherwise."""

    def monotonic(self) -> float:
        return super().monotonic() / 2


async def test_a_grant_holds_all_that_is_needed_to_use_it() -> None:
    acquire, leases = _acquire(pool_of("a"), term=3)

    granted = await acquire(wanted(), GATEWAY)

    assert isinstance(granted, Granted)
    assert (granted.access_token, granted.chatgpt_account_id) == ("access-a", "chatgpt-a")
    assert (granted.lease.account_id, granted.lease.epoch) == ("a", epoch_of(3, 1))
    assert (granted.in_use, granted.slots, leases.held_by(GATEWAY)) == (1, 2, 1)


async def test_fences_rise_with_every_grant_and_with_every_start() -> None:
    first, _ = _acquire(pool_of("a", "b"), term=1)
    after_restart, _ = _acquire(pool_of("a"), term=2)

    epochs = [
        granted.lease.epoch
        for verb in (first, first, after_restart)
        if isinstance(granted := await verb(wanted(), GATEWAY), Granted)
    ]

    assert epochs == sorted(set(epochs))
    assert len(epochs) == 3


async def test_a_cap_holds_however_many_ask_at_once() -> None:
    acquire, leases = _acquire(pool_of("a", "b"), slots=2)
    answers: list[Granted | NoLease] = []

    async def ask() -> None:
        answers.append(await acquire(wanted(), GATEWAY))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)

    assert sum(isinstance(answer, Granted) for answer in answers) == 4
    assert (leases.in_use(AccountId("a")), leases.in_use(AccountId("b"))) == (2, 2)


async def test_a_turn_waits_for_a_slot_and_gets_the_one_that_is_freed() -> None:
    acquire, leases = _acquire(pool_of("a"), slots=1)
    first = await acquire(wanted(), GATEWAY)
    answers: list[Granted | NoLease] = []

    async def ask() -> None:
        answers.append(await acquire(wanted(wait_max_s=LONG_S), GATEWAY))

    async with anyio.create_task_group() as queue:
        queue.start_soon(acquire.run)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            assert not answers
            assert isinstance(first, Granted)
            await leases.end(first.lease.lease_id, epoch=first.lease.epoch)
        queue.cancel_scope.cancel()

    assert [isinstance(answer, Granted) for answer in answers] == [True]


async def test_a_turn_that_cannot_wait_any_longer_is_told_that_the_pool_is_busy() -> None:
    acquire, _ = _acquire(pool_of("a"), slots=1)
    await acquire(wanted(), GATEWAY)

    refused = await acquire(wanted(wait_max_s=0.001), GATEWAY)

    assert _reason(refused) is RefusalReason.POOL_BUSY


async def test_a_turn_that_hangs_up_while_it_waits_takes_no_slot() -> None:
    acquire, leases = _acquire(pool_of("a"), slots=1)
    first = await acquire(wanted(), GATEWAY)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(acquire, wanted(wait_max_s=LONG_S), GATEWAY)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert isinstance(first, Granted)
    await leases.end(first.lease.lease_id, epoch=first.lease.epoch)

    assert leases.held() == 0


async def test_an_empty_pool_says_how_to_add_an_account() -> None:
    acquire, _ = _acquire(pool_of())

    refused = await acquire(wanted(), GATEWAY)

    assert _reason(refused) is RefusalReason.NO_ACCOUNT_AVAILABLE
    assert isinstance(refused, NoLease)
    assert "codex-lb admin accounts import" in refused.message


async def test_a_pool_used_up_says_when_the_first_account_returns() -> None:
    pool = pool_of("a", "b")
    for name, minutes in (("a", 30), ("b", 10)):
        until = NOON + timedelta(minutes=minutes)
        pool.observe(AccountId(name), Refused(RefusalKind.QUOTA, "usage_limit_reached", until, NOON))
    acquire, _ = _acquire(pool)

    refused = await acquire(wanted(), GATEWAY)

    assert _reason(refused) is RefusalReason.POOL_EXHAUSTED
    assert isinstance(refused, NoLease)
    assert refused.resets_at == NOON + timedelta(minutes=10)


async def test_a_model_that_no_plan_offers_is_refused_by_name() -> None:
    pool = pool_of("a", plan="free")
    pool.catalog = catalog_of({"pro": [("big", b"{}")]})
    acquire, _ = _acquire(pool)

    assert _reason(await acquire(wanted(model="big"), GATEWAY)) is RefusalReason.MODEL_NOT_OFFERED


async def test_accounts_that_need_a_person_are_counted_in_the_refusal() -> None:
    pool = pool_of("a", "b")
    pool.observe(AccountId("a"), LoginRejected(1, "token_expired", NOON))
    pool.observe(AccountId("b"), LoginRejected(1, "token_expired", NOON))
    acquire, _ = _acquire(pool)

    refused = await acquire(wanted(), GATEWAY)

    assert isinstance(refused, NoLease)
    assert refused.message == "No account can serve this now (2 reauth required)."


async def test_a_login_that_no_key_opens_is_passed_over_and_named() -> None:
    pool = pool_of("readable")
    other = FernetVault([Key("lost-key", Fernet.generate_key())])
    pool.put(account("unreadable"), other.seal(Credential("access", "refresh", "", None), generation=1))
    acquire, _ = _acquire(pool, slots=1)

    granted = await acquire(wanted(), GATEWAY)
    refused = await acquire(wanted(), GATEWAY)

    assert isinstance(granted, Granted)
    assert granted.lease.account_id == "readable"
    assert isinstance(refused, NoLease)
    assert refused.decision.passed_over_counts == {"no_slot": 1, "left:credential_unreadable": 1}


async def test_a_restarted_control_grants_nothing_before_gateways_could_tell_what_they_hold() -> None:
    clock = LaggingClock()  # every timer fires before its time
    open_from = clock.monotonic() + 0.02
    acquire, _ = _acquire(pool_of("a"), clock=clock, open_from=open_from)

    with anyio.fail_after(5):
        granted = await acquire(wanted(), GATEWAY)

    assert isinstance(granted, Granted)
    assert clock.monotonic() >= open_from


async def test_a_conversation_that_failed_is_tried_where_nobody_failed_as_long_as_there_is_such_an_account() -> None:
    pool, clock = pool_of("a", "b", "c"), FakeClock()
    continuities = MemoryContinuities(clock)
    acquire, _ = _acquire(pool, clock=clock, slots=1, continuities=continuities)
    hurt = replace(wanted(), continuity=Continuity(affinity_keys=(b"s1",)))
    await continuities.note_failure(Failure((b"s1",), AccountId("a")))
    await continuities.note_failure(Failure((b"s2",), AccountId("b")))

    granted = [await acquire(hurt, GATEWAY) for _ in range(4)]

    assert [g.lease.account_id for g in granted if isinstance(g, Granted)] == ["c", "b", "a"]
    assert _reason(granted[3]) is RefusalReason.POOL_BUSY


async def test_a_probe_that_is_not_refused_within_seconds_lets_others_try() -> None:
    pool, clock = pool_of("a"), FakeClock()
    refused = Refused(RefusalKind.RATE, "rate_limit_exceeded", NOON + timedelta(seconds=1), NOON)
    pool.observe(AccountId("a"), refused)
    acquire, _ = _acquire(pool, clock=clock)
    clock.advance(2)
    probe = await acquire(wanted(), GATEWAY)

    too_early = await acquire(wanted(), GATEWAY)
    clock.advance(6)
    another = await acquire(wanted(), GATEWAY)

    assert isinstance(probe, Granted)
    assert _reason(too_early) is RefusalReason.POOL_BUSY
    assert isinstance(another, Granted)


def _acquire(
    pool: Pool,
    *,
    term: int = 1,
    slots: int = 2,
    clock: Clock | None = None,
    open_from: float = 0.0,
    continuities: MemoryContinuities | None = None,
) -> tuple[AcquireLease, MemoryLeases]:
    leases = MemoryLeases(ttl_s=10.0)
    ids = count(1)
    book = SettingsBook(LiveSettings(account_stream_limit=slots))
    time = clock or FakeClock()
    keys = keys_of(time, pool=pool, budgets=leases.budgets)
    acquire = AcquireLease(
        pool,
        leases,
        Selector(pool, leases, book, time, random=lambda: 0.5),
        time,
        term=term,
        book=book,
        continuities=continuities or MemoryContinuities(time),
        limits=keys.limits,
        mend=keys.mend,
        new_lease_id=lambda: f"lease-{next(ids)}",
        open_from=open_from,
    )
    return acquire, leases


def _reason(answer: Granted | NoLease) -> RefusalReason:
    if isinstance(answer, Granted):
        pytest.fail("a lease was granted")
    return answer.reason
