"""Gateways are told of the keys that changed since the version they hold, and of no others."""

from __future__ import annotations

from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.ids import ApiKeyId
from codex_lb.control.domain.policy import GatewayKey
from codex_lb.control.usecases.key_deltas import REMOVED_MAX, KeyDeltas
from tests.support.clock import NOON


def key(name: str) -> GatewayKey:
    return GatewayKey(ApiKey(ApiKeyId(name), name, "sk-clb-", name.encode(), created_at=NOON, updated_at=NOON))


def changed(deltas: KeyDeltas, version: int) -> list[str]:
    return [one.key.api_key_id for one in deltas.since(version).changed]


def test_whoever_holds_nothing_gets_the_keys_there_are_and_hears_nothing_of_those_that_were() -> None:
    deltas = KeyDeltas()
    for version, name in enumerate("abc", start=2):
        deltas.put(key(name), version=version)
    deltas.remove(ApiKeyId("b"), version=5)

    assert changed(deltas, 0) == ["a", "c"]
    assert deltas.since(0).removed == ()


def test_a_key_that_changed_again_comes_once_and_what_came_before_does_not() -> None:
    deltas = KeyDeltas()
    for version, name in enumerate("abca", start=2):
        deltas.put(key(name), version=version)
    deltas.remove(ApiKeyId("b"), version=6)

    assert (changed(deltas, 3), deltas.since(3).removed) == (["c", "a"], ("b",))
    assert (changed(deltas, 6), deltas.since(6).removed) == ([], ())


def test_removals_are_remembered_within_bounds_and_whoever_missed_forgotten_ones_is_known() -> None:
    deltas = KeyDeltas()
    for version in range(1, REMOVED_MAX + 3):
        deltas.remove(ApiKeyId(str(version)), version=version)

    assert len(deltas.since(2).removed) == REMOVED_MAX
    assert [deltas.is_known_since(version) for version in (0, 1, 2, 3)] == [False, False, True, True]
