"""Which account a person means."""

from __future__ import annotations

import pytest

from codex_lb.allinone.admin.names import AmbiguousAccountError, UnknownAccountError, resolve
from codex_lb.api.admin.v1.account_service_pb2 import Account

ADA = Account(name="accounts/acc_1", email="ada@example.com", alias="work", plan="pro")
ALAN = Account(name="accounts/acc_2", email="team@example.com", plan="team")
GRACE = Account(name="accounts/acc_3", email="team@example.com", plan="plus")
POOL = [ADA, ALAN, GRACE]


@pytest.mark.parametrize("name", ["accounts/acc_1", "acc_1", "work", "ada@example.com", "ADA@example.com", " Work "])
def test_an_account_is_found_by_resource_name_id_alias_and_email(name: str) -> None:
    assert resolve(name, POOL) is ADA


def test_an_email_of_two_accounts_is_refused_with_both_ids() -> None:
    with pytest.raises(AmbiguousAccountError) as refused:
        resolve("team@example.com", POOL)

    assert str(refused.value) == (
        "team@example.com is the name of 2 accounts; name one by its id: acc_2 (team), acc_3 (plus)."
    )


def test_an_alias_outranks_an_email_and_an_id_outranks_both() -> None:
    aliased = Account(name="accounts/acc_4", alias="ada@example.com", email="x@example.com")
    disguised = Account(name="accounts/acc_5", alias="acc_1")

    assert resolve("ada@example.com", [*POOL, aliased]) is aliased
    assert resolve("acc_1", [*POOL, disguised]) is ADA


def test_a_misspelt_name_brings_a_suggestion() -> None:
    with pytest.raises(
        UnknownAccountError, match=r"There is no account ada@exampel.com. Did you mean ada@example.com\?"
    ):
        resolve("ada@exampel.com", POOL)


def test_nothing_is_called_by_an_empty_name() -> None:
    with pytest.raises(UnknownAccountError):
        resolve("", POOL)


def test_an_empty_pool_says_so() -> None:
    with pytest.raises(UnknownAccountError, match="the pool is empty"):
        resolve("ada", [])
