"""The address a sign-in ends on, however it was pasted, and whatever stands in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.control.domain.callback import Callback, read_url, refusal_of
from codex_lb.control.errors import InvalidCallbackError


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:1455/auth/callback?code=c%2B1&state=s",
        "  http://localhost:1455/auth/callback?state=s&scope=x&code=c%2B1#end\n",
        "localhost:1455/auth/callback?code=c%2B1&state=s",
        "?code=c%2B1&state=s",
    ],
)
def test_only_the_query_matters(url: str) -> None:
    assert read_url(url) == Callback(state="s", code="c+1")


@given(st.text(max_size=200))
def test_anything_else_is_refused_in_words_that_repeat_nothing(text: str) -> None:
    with pytest.raises(InvalidCallbackError) as caught:
        read_url(text)

    assert str(caught.value).startswith(("That is not the address", "The address is longer"))


def test_what_the_issuer_says_is_one_bounded_line() -> None:
    told = refusal_of(Callback("s", "", "server_error", "a\nb\x1b[2J" + "x" * 5000))

    assert told.startswith("The issuer's page ended the sign-in (server_error: a b [2J")
    assert len(told) < 400
    assert told.isprintable()


def test_neither_code_nor_state_is_shown() -> None:
    assert "hush" not in repr(Callback("hush-state", "hush-code"))
