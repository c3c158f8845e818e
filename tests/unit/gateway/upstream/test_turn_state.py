"""A turn state goes out with its account and comes back to that account only."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.upstream.turn_state import account_of, marked, without_foreign

STATES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


@given(STATES)
def test_an_account_gets_its_own_state_back_as_it_gave_it(state: str) -> None:
    held = [(b"x-codex-turn-state", marked(state, "acc_1").encode()), (b"a", b"b")]

    assert account_of(held) == "acc_1"
    assert without_foreign(held, "acc_1") == [(b"x-codex-turn-state", state.encode()), (b"a", b"b")]


@given(STATES)
def test_another_account_gets_none(state: str) -> None:
    held = [(b"x-codex-turn-state", marked(state, "acc_1").encode()), (b"a", b"b")]

    assert without_foreign(held, "acc_2") == [(b"a", b"b")]


def test_a_state_that_is_not_ours_passes_as_it_is() -> None:
    held = [(b"x-codex-turn-state", b"of-the-client")]

    assert account_of(held) == ""
    assert without_foreign(held, "acc_1") == held
