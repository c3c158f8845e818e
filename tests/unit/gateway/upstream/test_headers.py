"""What identifies a client or an account stays on its side; everything else travels as it came."""

from __future__ import annotations

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from codex_lb.gateway.upstream.headers import (
    NOT_UPSTREAM,
    NOT_UPSTREAM_PREFIXES,
    VERSION,
    Header,
    RawHeader,
    downstream_headers,
    upstream_headers,
)

TOKEN = string.ascii_lowercase + string.digits + "-_"
names = st.text(TOKEN, min_size=1, max_size=20).map(str.encode)
values = st.binary(max_size=20).map(lambda v: v.replace(b"\r", b"").replace(b"\n", b""))
CLIENTS_OWN = ["authorization", "chatgpt-account-id", "cookie", "x-api-key", "proxy-authorization"]
OF_THE_WAY = [
    "x-forwarded-for", "x-forwarded-proto", "x-forwarded-brand-new", "forwarded", "x-real-ip", "true-client-ip",
    "cf-connecting-ip", "cf-ray", "via", "sec-ch-ua",
]  # fmt: skip
OF_THE_HOP = [
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host",
    "content-length", "expect", "accept-encoding",
]  # fmt: skip
OURS = {"authorization", "chatgpt-account-id", "accept", "accept-encoding", "content-type", "content-encoding"}


def up(*headers: RawHeader, content_encoding: str = "") -> list[Header]:
    return upstream_headers(
        headers,
        access_token="account-token",
        chatgpt_account_id="account-id",
        accept="text/event-stream",
        content_encoding=content_encoding,
        request_id="turn_1",
    )


@pytest.mark.parametrize("name", [*CLIENTS_OWN, *OF_THE_WAY, *OF_THE_HOP])
def test_what_is_not_for_upstream_stays_here(name: str) -> None:
    passed = up((name.encode(), b"the-clients-own"))

    assert "the-clients-own" not in [value for _, value in passed]


@given(st.lists(st.tuples(st.sampled_from(sorted(NOT_UPSTREAM)) | names, values)))
def test_no_denied_header_passes_in_any_company(headers: list[RawHeader]) -> None:
    passed = up(*headers)

    foreign = [name for name, _ in passed if name not in OURS]
    assert not any(name.encode() in NOT_UPSTREAM for name in foreign)
    assert not any(name.encode().startswith(NOT_UPSTREAM_PREFIXES) for name in foreign)


@given(st.lists(st.tuples(names, values), max_size=8))
def test_what_nobody_knows_travels_in_order_and_unchanged(headers: list[RawHeader]) -> None:
    assume(not any(n in NOT_UPSTREAM or n.startswith(NOT_UPSTREAM_PREFIXES) for n, _ in headers))

    passed = up(*headers)

    assert [name.encode() for name, _ in passed[: len(headers)]] == [name for name, _ in headers]
    for (_, sent), (_, came) in zip(passed, headers, strict=False):
        assert sent in (came.decode("utf-8", "replace"), came.decode("latin-1"))


def test_a_value_in_utf8_leaves_as_the_bytes_that_came() -> None:
    value = '{"workspace":"/home/jürgen/проект"}'.encode()

    passed = up((b"x-codex-turn-metadata", value))

    assert dict(passed)["x-codex-turn-metadata"].encode() == value  # aiohttp writes UTF-8


@pytest.mark.parametrize("content_encoding", ["", "zstd"])
def test_a_request_carries_the_accounts_identity_once(content_encoding: str) -> None:
    passed = up((b"authorization", b"Bearer sk-clb-x"), (b"accept", b"*/*"), content_encoding=content_encoding)

    assert len({name for name, _ in passed}) == len(passed)
    said = dict(passed)
    assert said["authorization"] == "Bearer account-token"
    assert said["chatgpt-account-id"] == "account-id"
    assert (said["accept"], said["accept-encoding"]) == ("text/event-stream", "identity")
    assert said.get("content-encoding", "") == content_encoding


def test_an_account_without_an_id_sends_none_and_never_the_clients() -> None:
    passed = upstream_headers(
        [(b"chatgpt-account-id", b"the-users-own")],
        access_token="t",
        chatgpt_account_id="",
        accept="*/*",
        content_encoding="",
        request_id="turn_1",
    )

    assert "chatgpt-account-id" not in dict(passed)


def test_a_client_without_a_name_is_introduced_as_us() -> None:
    assert dict(up())["user-agent"] == f"codex-lb/{VERSION}"
    assert dict(up((b"user-agent", b"codex_exec/0.169.0")))["user-agent"] == "codex_exec/0.169.0"


@pytest.mark.parametrize("name", ["x-request-id", "request-id"])
def test_a_request_that_has_an_id_keeps_it(name: str) -> None:
    passed = up((name.encode(), b"theirs"))

    assert dict(passed)[name] == "theirs"
    assert "turn_1" not in dict(passed).values()
    assert dict(up())["x-request-id"] == "turn_1"


def down(*headers: Header, model_is_as_asked: bool = True) -> dict[bytes, bytes]:
    return dict(downstream_headers(CIMultiDict(headers).items(), "acc_1", model_is_as_asked=model_is_as_asked))


@pytest.mark.parametrize(
    "name",
    [
        "x-codex-primary-used-percent",
        "x-codex-primary-reset-at",
        "x-codex-secondary-window-minutes",
        "x-codex-credits-balance",
        "x-codex-plan-type",
        "x-codex-active-limit",
        "x-bengalfox-primary-used-percent",
        "x-models-etag",
        "set-cookie",
        "cf-ray",
        "x-request-id",
        "connection",
        "transfer-encoding",
        "content-length",
        "content-encoding",
        "openai-organization",
    ],
)
@pytest.mark.parametrize("spelling", [str.lower, str.upper, str.title])
def test_what_is_an_accounts_or_the_hops_never_reaches_a_client(name: str, spelling: object) -> None:
    assert callable(spelling)
    assert down((spelling(name), "1")) == {}


@pytest.mark.parametrize("name", ["x-reasoning-included", "OpenAI-Processing-Ms", "Content-Type"])
def test_what_concerns_the_client_reaches_it_in_lower_case(name: str) -> None:
    assert down((name, "value")) == {name.lower().encode(): b"value"}


def test_the_served_model_is_named_only_when_it_is_the_one_asked_for() -> None:
    assert down(("OpenAI-Model", "gpt-5.5")) == {b"openai-model": b"gpt-5.5"}
    assert down(("OpenAI-Model", "gpt-5.5"), model_is_as_asked=False) == {}


@given(st.binary(max_size=20))
def test_any_bytes_of_upstreams_come_down_as_they_were(value: bytes) -> None:
    as_aiohttp_reads = value.decode("utf-8", "surrogateescape")

    assert down(("openai-version", as_aiohttp_reads)) == {b"openai-version": value}
