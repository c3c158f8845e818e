"""Asking for a probe: one at a time for each account, and nobody waits for ever."""

from __future__ import annotations

import anyio
import pytest

from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.probe import ProbeReport
from codex_lb.control.errors import WorkerSilentError
from codex_lb.control.usecases.probe_now import Probed, ProbeNow
from codex_lb.control.usecases.probes import KEPT, Probes
from tests.support.clock import FakeClock
from tests.unit.control.leases import pool_of

A = AccountId("a")
SERVED = ProbeReport(is_served=True, status=200, code="", message="", resets_at=None, took_s=1.0, generation=1)


async def test_who_asks_while_a_probe_is_under_way_shares_it() -> None:
    bench = Bench()
    answers: list[Probed] = []

    async def ask(model: str) -> None:
        answers.append(await bench.probe(A, model=model))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "first")
        tasks.start_soon(ask, "second")
        await anyio.wait_all_tasks_blocked()
        due = bench.probes.due()
        model = bench.probes.take(A)
        bench.probes.end(A, SERVED)

    assert (len(due), model) == (1, "first")
    assert [(answer.model, answer.report) for answer in answers] == [("first", SERVED)] * 2
    assert bench.probes.due() == {}


async def test_without_a_worker_it_is_said_that_none_came() -> None:
    bench = Bench(taken_within_s=0.01)

    with pytest.raises(WorkerSilentError, match="No usage-worker took the probe"):
        await bench.probe(A, model="m")


async def test_a_worker_that_took_it_and_said_nothing_is_named_and_not_waited_for_again() -> None:
    bench = Bench(answered_within_s=0.01)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.taken)
        with pytest.raises(WorkerSilentError, match="did not tell"):
            await bench.probe(A, model="m")
    still_due = bench.probes.due()
    bench.clock.advance(KEPT.total_seconds())

    assert len(still_due) == 1
    assert bench.probes.due() == {}


class Bench:
    """The verb over a pool of one account."""

    def __init__(self, *, taken_within_s: float = 10.0, answered_within_s: float = 10.0) -> None:
        self.clock = FakeClock()
        self.probes = Probes(self.clock)
        self.probe = ProbeNow(
            pool_of("a"),
            self.probes,
            self.clock,
            taken_within_s=taken_within_s,
            answered_within_s=answered_within_s,
        )

    async def taken(self) -> None:
        """A worker takes the ticket, and nothing more."""
        await anyio.wait_all_tasks_blocked()
        self.probes.take(A)
