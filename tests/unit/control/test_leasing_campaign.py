"""Whatever turns, gateways and operators do, and in whatever order: no slot leaks, none is granted twice."""

from __future__ import annotations

import pytest

from tests.support.leasing import Campaign


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_leaks_in_thousands_of_random_steps(seed: int) -> None:
    done = await Campaign(seed).run(2_000)

    assert min(done["granted"], done["abandoned"], done["give_up"]) > 0
