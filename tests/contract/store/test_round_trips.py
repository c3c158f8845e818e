"""Whatever the domain can say, the database gives back unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from codex_lb.control.domain.evidence import (
    Closed,
    Evidence,
    LoginRejected,
    Operated,
    OperatorAction,
    Reactivated,
    RefusalKind,
    Refused,
    Served,
    Source,
    UsageSeen,
    record_of,
)
from codex_lb.control.domain.ids import LeaseId, TurnId
from codex_lb.control.domain.lease import Settlement, TurnReport
from codex_lb.control.domain.window import Window, WindowKind
from codex_lb.control.store.database import Database
from tests.contract.store import varieties
from tests.contract.store.examples import NOON, add_account

# One database serves all examples of a test: each writes under ids of its own.
several = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
numbers = count(1)


@several
@given(settled=varieties.settlements)
async def test_a_settlement(store: Database, settled: Settlement) -> None:
    lease = replace(settled.lease, lease_id=LeaseId(f"lease-{next(numbers)}"), turn_id=TurnId(f"turn-{next(numbers)}"))
    settled = replace(settled, lease=lease)

    async with store.begin(writing=True) as unit:
        await unit.turns.record([settled], [])

    async with store.begin(writing=False) as unit:
        assert await unit.turns.attempts(lease.turn_id) == [settled]


@several
@given(reported=varieties.reports)
async def test_a_turn_report(store: Database, reported: TurnReport) -> None:
    reported = replace(reported, turn_id=TurnId(str(next(numbers))))

    async with store.begin(writing=True) as unit:
        await unit.turns.record([], [reported])

    async with store.begin(writing=False) as unit:
        assert await unit.turns.report(reported.turn_id) == reported


@several
@given(observed=varieties.evidence)
async def test_evidence(store: Database, observed: Evidence) -> None:
    account = await add_account(store, str(next(numbers)))

    async with store.begin(writing=True) as unit:
        await unit.accounts.append_evidence([(account.account_id, observed)])

    async with store.begin(writing=False) as unit:
        assert list((await unit.accounts.newest_evidence())[account.account_id]) == [observed]


hours = st.integers(0, 5).map(lambda hour: NOON + timedelta(hours=hour))
codes = st.sampled_from(["a", "b"])
generations = st.integers(1, 3)
windows = st.builds(Window, st.sampled_from(WindowKind), st.integers(0, 100).map(float), st.just(18_000.0), hours)
observations: st.SearchStrategy[Evidence] = st.one_of(
    st.builds(UsageSeen, windows, hours, st.just(Source.POLL)),
    st.builds(Refused, st.sampled_from(RefusalKind), codes, hours, hours),
    st.builds(Served, hours),
    st.builds(LoginRejected, generations, codes, hours, st.booleans()),
    st.builds(Closed, generations, codes, hours),
    st.builds(Reactivated, hours),
    st.builds(Operated, st.sampled_from(OperatorAction), hours),
)


@several
@given(observed=st.lists(observations, max_size=20))
async def test_the_newest_rows_fold_into_the_same_record_as_all_of_them(
    store: Database, observed: Sequence[Evidence]
) -> None:
    account = await add_account(store, str(next(numbers)))

    async with store.begin(writing=True) as unit:
        await unit.accounts.append_evidence([(account.account_id, one) for one in observed])

    async with store.begin(writing=False) as unit:
        newest = (await unit.accounts.newest_evidence()).get(account.account_id, [])
    assert record_of(newest) == record_of(observed)
