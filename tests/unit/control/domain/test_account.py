"""What plans are worth to one another."""

from __future__ import annotations

import pytest

from codex_lb.control.domain.account import is_downgrade


@pytest.mark.parametrize(
    ("known", "seen", "expected"),
    [
        ("plus", "free", True),
        ("Pro", "guest", True),
        ("plus", "pro", False),
        ("free", "plus", False),
        ("", "free", False),
    ],
)
def test_only_the_loss_of_a_paid_plan_is_a_downgrade(known: str, seen: str, expected: bool) -> None:
    assert is_downgrade(known, seen) is expected
