"""The small calls carry what their endpoint lets through, and nothing of ours."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.upstream.errand_headers import open_headers, signed, upload_headers
from codex_lb.gateway.upstream.headers import NOT_UPSTREAM

CLIENTS = [
    (b"authorization", b"Bearer sk-clb-secret"),
    (b"cookie", b"a=b"),
    (b"x-forwarded-for", b"10.0.0.1"),
    (b"user-agent", b"codex_exec/1"),
    (b"originator", b"codex_exec"),
    (b"x-codex-window-id", b"w"),
    (b"x-openai-subagent", b"s"),
    (b"x-codex-routing-hint", b"model=m"),
]


def test_uploads_carry_few_headers_and_the_others_all_but_ours() -> None:
    few = [name for name, _ in upload_headers(CLIENTS)]
    most = [name for name, _ in open_headers(CLIENTS)]

    assert few == [b"user-agent", b"x-codex-window-id", b"x-openai-subagent"]
    assert most == [b"user-agent", b"originator", b"x-codex-window-id", b"x-openai-subagent"]


def test_a_call_is_signed_with_the_account_and_introduces_itself() -> None:
    headers = dict(signed([], access_token="t", chatgpt_account_id="", accept="*/*", content_type=""))

    assert headers == {
        "user-agent": headers["user-agent"],
        "authorization": "Bearer t",
        "accept": "*/*",
        "accept-encoding": "identity",
    }
    assert headers["user-agent"].startswith("codex-lb/")


@given(st.lists(st.tuples(st.sampled_from(sorted(NOT_UPSTREAM)), st.binary(max_size=9))))
def test_nothing_of_ours_leaves(inbound: list[tuple[bytes, bytes]]) -> None:
    assert open_headers(inbound) == upload_headers(inbound) == ()
