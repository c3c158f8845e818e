"""What keys have spent, from the rows of settled leases, on both databases."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from codex_lb.control.domain.ids import ApiKeyId, LeaseId
from codex_lb.control.domain.lease import Outcome, ReservedAmount, Settlement, Timings, Usage, Work
from codex_lb.control.domain.limit import Amounts
from codex_lb.control.store.database import Database
from codex_lb.control.store.repositories.spendings import IDS_MAX
from tests.contract.store.examples import NOON, add_account, settlement

KEY = ApiKeyId("key_1")
RESERVED = (ReservedAmount("limit_1", 10_000, NOON),)


def lease(
    name: str,
    usage: Usage | None = Usage(100, 40, 20, 5, 120),  # noqa: B008 - a value
    *,
    model: str = "gpt-5.5",
    key: str = KEY,
    granted_at: datetime = NOON,
    outcome: Outcome = Outcome.COMPLETED,
    work: Work = Work.TURN,
    cost: int | None = 7,
    has_begun: bool = True,
    reservation: tuple[ReservedAmount, ...] = RESERVED,
) -> Settlement:
    settled = settlement(name)
    held = replace(
        settled.lease, api_key_id=key, model=model, granted_at=granted_at, work=work, reservation=reservation
    )
    return replace(
        settled,
        lease=held,
        usage=usage,
        outcome=outcome,
        cost_micro_usd=cost if usage else None,
        timings=Timings(first_output_s=0.1 if has_begun else None),
    )


async def record(store: Database, *settlements: Settlement) -> None:
    await add_account(store, "account-a")
    async with store.begin(writing=True) as unit:
        await unit.turns.record(settlements, [])


async def test_what_upstream_said_is_summed_by_key_model_and_the_instant_of_the_grant(store: Database) -> None:
    await record(
        store,
        lease("early", granted_at=NOON - timedelta(microseconds=1)),
        lease("one"),
        lease("two", Usage(1, 0, 2, 0, 3), model="gpt-5.4", cost=None),
        lease("warm-up", Usage(9, 0, 0, 0, 9), cost=1),
        lease("foreign", key="key_2"),
        lease("file", work=Work.FILE),
        lease("unseen", None),
    )

    async with store.begin(writing=False) as unit:
        everything = await unit.spendings.known(KEY, since=NOON, model="")
        one_model = await unit.spendings.known(KEY, since=NOON, model="gpt-5.5")
        nothing = await unit.spendings.known(ApiKeyId("key_9"), since=NOON, model="")

    assert everything == Amounts(2, 110, 22, 132, 7 + 1 + 3 * 125)
    assert one_model == Amounts(1, 109, 20, 129, 8)
    assert nothing == Amounts()


async def test_leases_count_by_what_they_reserved_where_upstream_said_nothing_but_had_begun(store: Database) -> None:
    await record(
        store,
        lease("abandoned", None, outcome=Outcome.ABANDONED, has_begun=False),
        lease("hung-up", None, outcome=Outcome.CANCELLED),
        lease("never-begun", None, outcome=Outcome.CANCELLED, has_begun=False),
        lease("refused", None, outcome=Outcome.LIMITED),
        lease("unlimited", None, outcome=Outcome.ABANDONED, reservation=()),
        lease("recording", None, work=Work.TRANSCRIPTION, reservation=()),
        lease("known"),
    )

    async with store.begin(writing=False) as unit:
        unseen = await unit.spendings.unseen(KEY, since=NOON)

    assert sorted((x.guessed.get("limit_1", 0), x.is_final, x.amounts) for x in unseen if x.amounts is None) == [
        (10_000, False, None),
        (10_000, True, None),
    ]
    assert [x.amounts for x in unseen if x.amounts not in (None, Amounts())] == [Amounts(requests=1)]


async def test_leases_are_found_by_their_ids(store: Database) -> None:
    await record(store, lease("one"), lease("guess", None, outcome=Outcome.ABANDONED), lease("file", work=Work.FILE))

    async with store.begin(writing=False) as unit:
        found = await unit.spendings.of([LeaseId(name) for name in ("one", "guess", "file", "nobody's")])
        nothing = await unit.spendings.of([])

    assert {name: (what.amounts, what.is_final) for name, what in found.items()} == {
        "one": (Amounts(1, 100, 20, 120, 7), True),
        "guess": (None, False),
        "file": (Amounts(), True),
    }
    assert found[LeaseId("guess")].guessed == {"limit_1": 10_000}
    assert nothing == {}


async def test_more_leases_than_one_statement_takes_are_found(store: Database) -> None:
    await record(store, *(lease(f"lease-{n}") for n in range(3)))
    asked = [LeaseId(f"lease-{n}") for n in range(2 * IDS_MAX)]

    async with store.begin(writing=False) as unit:
        found = await unit.spendings.of(asked)

    assert sorted(found) == ["lease-0", "lease-1", "lease-2"]


async def test_what_is_asked_in_one_unit_is_answered_as_of_one_moment(store: Database) -> None:
    await record(store, lease("before"))
    async with store.begin(writing=False) as unit:
        first = await unit.spendings.known(KEY, since=NOON, model="")
        async with store.begin(writing=True) as other:
            await other.turns.record([lease("meanwhile")], [])
        second = await unit.spendings.known(KEY, since=NOON, model="")
        found = await unit.spendings.of([LeaseId("meanwhile")])

    assert first == second == Amounts(1, 100, 20, 120, 7)
    assert found == {}
