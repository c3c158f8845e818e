"""What tokens say about their owner."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.control.domain.account import Identity
from codex_lb.control.oauth.claims import CLAIM_CHARS_MAX, UnreadableTokenError, read_claims
from tests.support.logins import access_token, id_token, jwt

AUTH = "https://api.openai.com/auth"


def test_an_identity_is_issuer_user_and_workspace() -> None:
    claims = read_claims(id_token("ann", workspace="ws-7", plan="Pro"), access_token("ann"))

    assert claims.identity == Identity("https://auth.openai.com", "user-ann", "ws-7")
    assert (claims.email, claims.plan, claims.chatgpt_account_id) == ("ann@example.test", "pro", "ws-7")


def test_seats_of_one_team_are_different_accounts_and_one_user_has_an_account_per_workspace() -> None:
    ann = read_claims(id_token("ann", workspace="team"), "opaque").identity
    ben = read_claims(id_token("ben", workspace="team"), "opaque").identity
    ann_at_home = read_claims(id_token("ann", workspace="home"), "opaque").identity

    assert len({ann, ben, ann_at_home}) == 3


def test_a_workspace_named_outright_outranks_the_account_id() -> None:
    token = jwt({"sub": "s", AUTH: {"chatgpt_account_id": "acct", "workspace_id": "ws-9"}})

    claims = read_claims(token, "opaque")

    assert (claims.identity.workspace_id, claims.chatgpt_account_id) == ("ws-9", "acct")


@pytest.mark.parametrize(
    ("claims", "user"),
    [
        ({"sub": "s", AUTH: {"chatgpt_user_id": "c", "user_id": "u"}}, "c"),
        ({"sub": "s", AUTH: {"user_id": "u"}}, "u"),
        ({"sub": "s", "chatgpt_user_id": "c"}, "c"),
        ({"sub": "s"}, "s"),
    ],
)
def test_the_user_is_named_by_the_most_telling_claim(claims: dict[str, object], user: str) -> None:
    assert read_claims(jwt(claims), "opaque").identity.user_id == user


def test_the_access_token_fills_what_the_identity_token_leaves_out() -> None:
    access = jwt({AUTH: {"chatgpt_plan_type": "team"}, "https://api.openai.com/profile": {"email": "a@b.test"}})

    claims = read_claims(jwt({"sub": "s"}), access, chatgpt_account_id="from-the-file")

    assert (claims.plan, claims.email, claims.identity.workspace_id) == ("team", "a@b.test", "from-the-file")


def test_the_login_lasts_as_long_as_its_access_token() -> None:
    until = datetime(2030, 1, 1, tzinfo=UTC)

    assert read_claims(id_token("a"), access_token("a", expires_at=until)).access_expires_at == until


@pytest.mark.parametrize("exp", [None, True, "soon", 1e300, -1e300, float("nan"), [1]])
def test_an_end_that_is_no_instant_is_unknown(exp: object) -> None:
    assert read_claims(id_token("a"), jwt({"exp": exp})).access_expires_at is None


@pytest.mark.parametrize("token", ["", "opaque", "a.b", "a.!.c", "a.aGk.c", "a.W10.c", "é.é.é", "a.bnVsbA.c"])
def test_an_identity_token_that_cannot_be_read_is_refused(token: str) -> None:
    with pytest.raises(UnreadableTokenError):
        read_claims(token, access_token("a"))


def test_an_identity_token_without_a_user_is_refused() -> None:
    with pytest.raises(UnreadableTokenError, match="names no user"):
        read_claims(jwt({"email": "a@b.test"}), "opaque")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
names = st.sampled_from(["iss", "sub", "email", "exp", "user_id", "org_id", "chatgpt_plan_type", AUTH])


@given(st.dictionaries(names, json_values, max_size=6), st.dictionaries(names, json_values, max_size=6))
def test_whatever_tokens_say_labels_are_short_and_can_be_stored(
    of_identity: dict[str, object], of_access: dict[str, object]
) -> None:
    try:
        claims = read_claims(jwt(of_identity), jwt(of_access))
    except UnreadableTokenError:
        return

    for label in (claims.email, claims.plan, claims.chatgpt_account_id, *_parts(claims.identity)):
        assert label.isprintable()
        assert len(label.encode()) <= 4 * CLAIM_CHARS_MAX


def _parts(identity: Identity) -> tuple[str, str, str]:
    return identity.issuer, identity.user_id, identity.workspace_id
