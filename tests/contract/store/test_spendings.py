"""What keys have spent, from the rows of settled leases, on both databases."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from codex_lb.control.domain.ids import ApiKeyId, LeaseId
from codex_lb.control.domain.lease import Outcome, ReservedAmount, Settlement, Timings, Usage, Work
from codex_lb.control.domain.limit import Amounts
from codex_lb.control.store.database import Database
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
        everything = await unit.spendings.known(KEY, since=NOON, model="", without=[])
        one_model = await unit.spendings.known(KEY, since=NOON, model="gpt-5.5", without=[])
        others = await unit.spendings.known(KEY, since=NOON, model="", without=[LeaseId("one")])
        nothing = await unit.spendings.known(ApiKeyId("key_9"), since=NOON, model="", without=[])

    assert everything == Amounts(2, 110, 22, 132, 7 + 1 + 3 * 125)
    assert one_model == Amounts(1, 109, 20, 129, 8)
    assert others == Amounts(1, 10, 2, 12, 1 + 3 * 125)
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
        unseen = await unit.spendings.unseen(KEY, since=NOON, without=[])
        without = await unit.spendings.unseen(KEY, since=NOON, without=[LeaseId("abandoned")])

    guessed = {"limit_1": 10_000}
    assert sorted((x.guessed.get("limit_1", 0), x.is_final, x.amounts) for x in unseen if x.amounts is None) == [
        (10_000, False, None),
        (10_000, True, None),
    ]
    assert [x.amounts for x in unseen if x.amounts not in (None, Amounts())] == [Amounts(requests=1)]
    assert [x.guessed for x in without if x.amounts is None] == [guessed]


async def test_the_leases_of_the_last_minutes_come_with_their_ids(store: Database) -> None:
    await record(store, lease("one"), lease("foreign", key="key_2"))

    async with store.begin(writing=False) as unit:
        lately = await unit.spendings.lately(KEY, ended_since=NOON)
        nobody = await unit.spendings.lately(KEY, ended_since=NOON + timedelta(hours=1))

    assert {name: what.amounts for name, what in lately.items()} == {"one": Amounts(1, 100, 20, 120, 7)}
    assert nobody == {}
