"""Reading the Codex CLI's auth.json, and saying what is wrong with one."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.control.domain.account import Login
from codex_lb.control.errors import InvalidAuthFileError
from codex_lb.control.oauth.auth_file import FILE_BYTES_MAX, read_auth_file
from tests.support.logins import access_token, auth_file, id_token

TOKENS = {"id_token": id_token("ann"), "access_token": access_token("ann"), "refresh_token": "rt_secret"}


def test_a_file_of_the_codex_cli_is_a_login() -> None:
    login = read_auth_file(auth_file("ann", plan="team"))

    assert (login.identity.user_id, login.email, login.plan) == ("user-ann", "ann@example.test", "team")
    assert login.credential.refresh_token == "rt_ann_0"
    assert login.refreshed_at == datetime(2026, 5, 4, 12, tzinfo=UTC)


def test_names_in_camel_case_are_understood_and_unknown_ones_ignored() -> None:
    tokens = {"idToken": TOKENS["id_token"], "accessToken": "opaque", "refreshToken": "rt", "accountId": "ws", "x": 1}

    login = read_auth_file(_file(tokens, lastRefreshAt="2026-05-04T14:00:00.123456789+02:00", auth_mode="chatgpt"))

    assert login.refreshed_at == datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)
    assert (login.credential.access_token, login.credential.access_expires_at) == ("opaque", None)


def test_a_byte_order_mark_is_no_reason_to_refuse() -> None:
    assert read_auth_file(b"\xef\xbb\xbf" + auth_file("ann")) == read_auth_file(auth_file("ann"))


def test_an_unreadable_date_is_no_reason_to_refuse() -> None:
    assert read_auth_file(_file(TOKENS, last_refresh="yesterday")).refreshed_at is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"\xff\xfe", "the file is not text in UTF-8"),
        (b'{\n"tokens": {\n      oops', "the file is not JSON (line 3, column 7)"),
        (b"[" * 200_000, "the file is JSON of a kind that no auth.json is"),
        (b"9" * 5000, "the file is JSON of a kind that no auth.json is"),
        (b"[]", "the file is JSON, but not an object"),
        (b"{}", "tokens is missing"),
        (b'{"tokens": []}', "tokens is not an object"),
        (b" " * (FILE_BYTES_MAX + 1), "the file is larger than 1048576 bytes"),
        (
            b'{"OPENAI_API_KEY": "sk-secret", "tokens": null}',
            "tokens is missing: the file holds an API key, not a ChatGPT login. Sign in with: codex login",
        ),
    ],
)
def test_a_file_of_another_shape_is_refused_with_a_sentence(content: bytes, problem: str) -> None:
    assert _problem(content) == problem


@pytest.mark.parametrize("field", list(TOKENS))
def test_every_token_is_needed(field: str) -> None:
    without = {name: token for name, token in TOKENS.items() if name != field}

    assert _problem(_file(without)) == f"tokens.{field} is missing"
    assert _problem(_file({**TOKENS, field: ""})) == f"tokens.{field} is missing"
    assert _problem(_file({**TOKENS, field: 7})) == f"tokens.{field} is not a string"
    assert _problem(_file({**TOKENS, field: "x" * 20_000})) == f"tokens.{field} is longer than 16384 characters"
    assert _problem(_file({**TOKENS, field: "a\r\nb"})) == f"tokens.{field} holds characters that no token has"


def test_the_identity_token_must_be_readable() -> None:
    assert _problem(_file({**TOKENS, "id_token": "opaque"})) == "tokens.id_token is not a JWT"


def test_an_account_id_that_could_not_be_a_header_is_refused() -> None:
    assert _problem(_file({**TOKENS, "account_id": "a b"})) == "tokens.account_id is not an id"


values = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=2)


@given(st.dictionaries(st.sampled_from([*TOKENS, "account_id", "idToken"]), values | st.just(TOKENS["id_token"])))
def test_whatever_stands_in_a_file_it_is_a_login_or_a_sentence_that_repeats_none_of_it(
    tokens: dict[str, object],
) -> None:
    try:
        outcome: Login | str = read_auth_file(_file(tokens))
    except InvalidAuthFileError as error:
        outcome = str(error)

    if isinstance(outcome, Login):
        assert outcome.credential.access_token.isascii()
    else:
        assert not [v for v in tokens.values() if isinstance(v, str) and len(v) > 12 and v in outcome]


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    with pytest.raises(InvalidAuthFileError):
        read_auth_file(content)


def test_a_login_shows_no_token_when_it_is_printed() -> None:
    assert "rt_secret" not in repr(read_auth_file(_file(TOKENS)))


def _file(tokens: dict[str, object] | dict[str, str], **more: object) -> bytes:
    return json.dumps({"tokens": tokens, **more}).encode()


def _problem(content: bytes) -> str:
    with pytest.raises(InvalidAuthFileError) as caught:
        read_auth_file(content)
    return str(caught.value)
