"""What an account owns is remembered, within bounds."""

from __future__ import annotations

from codex_lb.gateway.continuity.owners import MemoryOwners


def test_an_owner_is_remembered_and_may_change() -> None:
    owners = MemoryOwners()

    owners.remember("file:1", "acc_a")
    owners.remember("file:1", "acc_b")

    assert (owners.owner_of("file:1"), owners.owner_of("file:2")) == ("acc_b", "")


def test_what_was_used_longest_ago_is_forgotten_first() -> None:
    owners = MemoryOwners(owners_max=2)

    owners.remember("1", "a")
    owners.remember("2", "b")
    owners.owner_of("1")
    owners.remember("3", "c")

    assert [owners.owner_of(thing) for thing in "123"] == ["a", "", "c"]
