"""What a key enforces replaces what the client asks for, whatever the dialect and however it is spelled."""

from __future__ import annotations

import json
from typing import Any

import pytest

from codex_lb.gateway.errors import ForbiddenError
from codex_lb.gateway.translate.frames import native_create, public_create, read_head
from codex_lb.gateway.translate.key_terms import KeyTerms
from codex_lb.gateway.translate.model_alias import Catalog
from codex_lb.gateway.translate.responses import native_turn, public_turn

CATALOG: Catalog = {"gpt-5.5": ("low", "high"), "gpt-5.4": ("low", "medium", "high")}
ALL = KeyTerms(model="gpt-5.4", effort="low", service_tier="flex")


def body(**members: object) -> bytes:
    return json.dumps({"type": "response.create", "model": "gpt-5.5", "input": [], **members}).encode()


def every_way(raw: bytes, terms: KeyTerms) -> list[dict[str, Any]]:
    """The request as each route would send it upstream."""
    frame = raw.decode()
    return [
        json.loads(sent)
        for sent in (
            native_turn(raw, CATALOG, terms).body,
            public_turn(raw, CATALOG, terms).body,
            native_create(frame, read_head(frame), CATALOG, terms).frame,
            public_create(frame, read_head(frame), CATALOG, terms).frame,
        )
    ]


@pytest.mark.parametrize(
    "asked", [{}, {"reasoning": {"effort": "high", "summary": "auto"}, "service_tier": "priority"}]
)
def test_enforced_model_effort_and_tier_stand_in_every_request(asked: dict[str, object]) -> None:
    for sent in every_way(body(**asked), ALL):
        assert (sent["model"], sent["reasoning"]["effort"], sent["service_tier"]) == ("gpt-5.4", "low", "flex")
        assert sent["reasoning"].get("summary") == ("auto" if asked else None)


def test_what_the_lease_and_the_log_are_told_is_what_goes_upstream() -> None:
    turn = native_turn(body(), CATALOG, ALL)

    assert (turn.requested_model, turn.model, turn.reasoning_effort) == ("gpt-5.5", "gpt-5.4", "low")


@pytest.mark.parametrize("tier", ["auto", "default"])
def test_a_tier_that_means_upstreams_own_takes_the_wish_away(tier: str) -> None:
    for sent in every_way(body(service_tier="priority"), KeyTerms(service_tier=tier)):
        assert "service_tier" not in sent


def test_an_effort_that_is_not_allowed_is_refused_by_member_and_one_that_is_or_none_passes() -> None:
    terms = KeyTerms(allowed_efforts=frozenset({"low"}))

    with pytest.raises(ForbiddenError, match="'high'") as refused:
        native_turn(body(reasoning={"effort": "high"}), CATALOG, terms)
    with pytest.raises(ForbiddenError):
        native_turn(body(model="gpt-5.4-high"), CATALOG, terms)

    assert (refused.value.status, refused.value.code) == (403, "reasoning_effort_not_allowed")
    assert refused.value.param == "reasoning.effort"
    assert native_turn(body(reasoning={"effort": "low"}), CATALOG, terms).reasoning_effort == "low"
    assert native_turn(body(), CATALOG, terms).reasoning_effort == ""


def test_a_key_that_enforces_nothing_leaves_every_byte() -> None:
    raw = b'{ "model":"gpt-5.5","input":[],"stream":true,"store":false,"service_tier":null }'

    assert native_turn(raw, CATALOG, KeyTerms()).body is raw
