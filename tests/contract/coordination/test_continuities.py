"""What every adapter of the Continuities port must do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from codex_lb.control.coordination.continuities import MemoryContinuities
from codex_lb.control.coordination.events import from_wire, to_wire
from codex_lb.control.coordination.shared_continuities import SharedContinuities
from codex_lb.control.domain.continuity import AffinityKind, Failure
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.lease import Anchor, AnchorKind
from codex_lb.control.usecases.lease_ports import Continuities
from codex_lb.kit.clock import Clock
from tests.support.clock import NOON, FakeClock
from tests.support.redis_server import Told

A, B, C = AccountId("a"), AccountId("b"), AccountId("c")
TTL_S = 1800.0


def memory(clock: Clock) -> Continuities:
    """The adapter for one replica; three affinities and three anchors at the most."""
    return MemoryContinuities(clock, anchors_max=3, affinities_max=3, affinity_ttl_s=TTL_S)


def shared(clock: Clock) -> Continuities:
    """The adapter for several replicas, with the same bounds."""
    return SharedContinuities(clock, Told(), anchors_max=3, affinities_max=3, affinity_ttl_s=TTL_S)


@pytest.fixture(params=[memory, shared], ids=["memory", "shared"])
def continuities(request: pytest.FixtureRequest, clock: FakeClock) -> Continuities:
    """The port, once per adapter."""
    make: Callable[[Clock], Continuities] = request.param
    return make(clock)


@pytest.fixture
def clock() -> FakeClock:
    """The test's time."""
    return FakeClock()


async def test_a_conversation_is_where_it_was_served_last(continuities: Continuities) -> None:
    await continuities.bind([b"s1", b"s2"], A)
    await continuities.bind([b"s2"], B)

    assert await continuities.affinities([b"s1", b"s2", b"s3"]) == {b"s1": A, b"s2": B}


async def test_a_habit_that_no_turn_uses_is_forgotten(continuities: Continuities, clock: FakeClock) -> None:
    await continuities.bind([b"s1", b"s2"], A)
    clock.advance(TTL_S)
    await continuities.bind([b"s2"], A)
    clock.advance(1)

    assert await continuities.affinities([b"s1", b"s2"]) == {b"s2": A}
    assert [affinity.key for affinity in await continuities.habits()] == [b"s2"]


async def test_habits_tell_since_when_they_are_so(continuities: Continuities, clock: FakeClock) -> None:
    await continuities.bind([b"s1", b"c1"], A)
    clock.advance(60)
    await continuities.bind([b"s1"], A)
    clock.advance(60)
    await continuities.bind([b"c1"], B)

    first, second = await continuities.habits()

    assert (first.key, first.kind, first.account_id) == (b"c1", AffinityKind.CACHE_KEY, B)
    assert (first.bound_at, first.used_at) == (NOON + timedelta(seconds=120), NOON + timedelta(seconds=120))
    assert (second.key, second.kind, second.account_id) == (b"s1", AffinityKind.SESSION, A)
    assert (second.bound_at, second.used_at) == (NOON, NOON + timedelta(seconds=60))


async def test_what_is_dropped_is_known_no_more(continuities: Continuities) -> None:
    await continuities.bind([b"s1", b"s2"], A)

    assert await continuities.unbind([b"s1", b"s9"]) == 1
    assert await continuities.affinities([b"s1", b"s2"]) == {b"s2": A}


async def test_habits_beyond_the_bound_go_the_one_used_longest_ago_first(
    continuities: Continuities, clock: FakeClock
) -> None:
    for key in (b"s1", b"s2", b"s3", b"s1", b"s4"):
        await continuities.bind([key], A)
        clock.advance(1)

    assert set(await continuities.affinities([b"s1", b"s2", b"s3", b"s4"])) == {b"s1", b"s3", b"s4"}


async def test_where_a_conversation_failed_is_known_for_a_minute_the_latest_last(
    continuities: Continuities, clock: FakeClock
) -> None:
    await continuities.note_failure(Failure((b"s1",), A))
    clock.advance(30)
    await continuities.note_failure(Failure((b"s1",), B))

    assert await continuities.failed_lately([b"s1"]) == (A, B)
    assert await continuities.failed_lately([b"s2"]) == ()
    await continuities.note_failure(Failure((b"s1",), A))
    assert await continuities.failed_lately([b"s1"]) == (B, A)
    clock.advance(31 + 30)
    assert await continuities.failed_lately([b"s1"]) == ()


async def test_a_conversation_failed_where_it_failed_under_any_of_its_names(
    continuities: Continuities, clock: FakeClock
) -> None:
    await continuities.note_failure(Failure((b"p1",), B))
    clock.advance(1)
    await continuities.note_failure(Failure((b"p2",), A))
    await continuities.note_failure(Failure((b"p1",), A))

    assert await continuities.failed_lately([b"p3", b"p2", b"p1"]) == (B, A)


async def test_what_was_remembered_when_an_attempt_began_counts_as_long_as_its_failure_whatever_is_heard_first(
    continuities: Continuities, clock: FakeClock
) -> None:
    clock.advance(300)

    await continuities.note_failure(Failure((b"s1",), B, lasted_s=200.0))  # that long it was silent
    await continuities.note_failure(Failure((b"s1",), A, ago_s=230.0))
    await continuities.note_failure(Failure((b"s1",), C, ago_s=295.0))  # was forgotten by then

    assert await continuities.failed_lately([b"s1"]) == (A, B)
    clock.advance(61)
    assert await continuities.failed_lately([b"s1"]) == ()


async def test_a_failure_that_is_told_later_counts_from_when_it_was(
    continuities: Continuities, clock: FakeClock
) -> None:
    await continuities.note_failure(Failure((b"s1",), A, ago_s=10.0))
    await continuities.note_failure(Failure((b"s1",), A, ago_s=55.0))  # is known to be later

    assert (await continuities.failed_lately([b"s1"]), await continuities.failing()) == ((A,), (A,))
    clock.advance(6)
    assert (await continuities.failed_lately([b"s1"]), await continuities.failing()) == ((A,), ())
    clock.advance(45)
    assert await continuities.failed_lately([b"s1"]) == ()


async def test_an_account_is_failing_for_seconds_whosever_turn_it_failed(
    continuities: Continuities, clock: FakeClock
) -> None:
    await continuities.note_failure(Failure((b"s1",), A))
    clock.advance(10)
    await continuities.note_failure(Failure((), B))

    assert await continuities.failing() == (A, B)
    clock.advance(10)
    assert await continuities.failing() == (B,)


async def test_anchors_beyond_the_bound_go_and_those_asked_for_stay(continuities: Continuities) -> None:
    given = [Anchor(AnchorKind.REASONING, digest) for digest in (b"1", b"2", b"3", b"4")]
    await continuities.remember(given[:3], A)
    await continuities.owners([b"1"])
    await continuities.remember(given[3:], B)

    assert await continuities.owners([b"1", b"2", b"3", b"4"]) == {b"1": A, b"3": A, b"4": B}


async def test_whose_an_anchor_is_outlives_every_habit(continuities: Continuities, clock: FakeClock) -> None:
    await continuities.remember([Anchor(AnchorKind.COMPACTION, b"1")], A)
    await continuities.bind([b"s1"], A)
    await continuities.unbind([b"s1"])
    clock.advance(10 * TTL_S)

    assert await continuities.owners([b"1"]) == {b"1": A}


async def test_what_one_control_learns_another_knows_once_it_is_told(clock: FakeClock) -> None:
    told = Told()
    one, other = SharedContinuities(clock, told), SharedContinuities(clock, Told())
    await one.bind([b"s1", b"s2"], A)
    await one.unbind([b"s2"])
    await one.remember([Anchor(AnchorKind.FILE, b"1")], A)
    await one.note_failure(Failure((b"s1",), B, ago_s=20.0))
    await one.note_failure(Failure((b"s1",), A))

    for event in told.events:
        await other.take_in(from_wire(to_wire(event)))

    assert await other.affinities([b"s1", b"s2"]) == {b"s1": A}
    assert await other.owners([b"1"]) == {b"1": A}
    assert (await other.failed_lately([b"s1"]), await other.failing()) == ((B, A), (A,))
