"""Names of models that also say how."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.translate.model_alias import SUFFIXES, Catalog, Named, named, upstream_effort

CATALOG: Catalog = {
    "gpt-5.4": ("low", "medium", "high"),
    "gpt-5.4-mini": ("low", "medium", "high"),
    "gpt-5.1-codex-high": ("high",),
    "gpt-6-sol": ("low", "medium", "high", "xhigh", "max", "ultra"),
    "codex-auto-review": (),
}


@pytest.mark.parametrize(
    ("name", "stands_for"),
    [
        ("gpt-5.4", Named("gpt-5.4")),
        ("gpt-5.4-high-fast", Named("gpt-5.4", "high", "priority")),
        ("gpt-5.4-fast-high", Named("gpt-5.4", "high", "priority")),
        ("gpt-5.4-priority", Named("gpt-5.4", "", "priority")),
        ("gpt-5.4-minimal", Named("gpt-5.4", "minimal")),
        ("gpt-5.4-xhigh", Named("gpt-5.4", "high")),
        ("gpt-5.4-extra-high", Named("gpt-5.4", "high")),
        ("gpt-5.4-thinking", Named("gpt-5.4")),
        ("gpt-5.4-low-reasoning", Named("gpt-5.4", "low")),
        ("gpt-5.4-mini-low", Named("gpt-5.4-mini", "low")),
        ("gpt-6-sol-fast", Named("gpt-6-sol", "", "priority")),
        ("gpt-5.1-codex-high", Named("gpt-5.1-codex-high")),
        ("gpt-5.1-codex-high-fast", Named("gpt-5.1-codex-high", "", "priority")),
        ("gpt-5.4-turbo", Named("gpt-5.4-turbo")),
        ("gpt-5.4-turbo-high", Named("gpt-5.4-turbo-high")),
        ("gpt-5.9-high", Named("gpt-5.9-high")),
        ("codex-auto-review-high", Named("codex-auto-review-high")),
        ("high", Named("high")),
        ("-high", Named("-high")),
        ("", Named("")),
    ],
)
def test_a_suffix_says_how_a_known_model_is_to_answer(name: str, stands_for: Named) -> None:
    assert named(name, CATALOG) == stands_for


@given(st.sampled_from([*CATALOG, "gpt-9", "-"]), st.lists(st.sampled_from(sorted(SUFFIXES)), max_size=5))
def test_what_a_name_stands_for_is_a_model_or_the_name_itself(base: str, suffixes: list[str]) -> None:
    name = "-".join([base, *suffixes])

    meant = named(name, CATALOG)

    assert meant.model in CATALOG or meant == Named(name)
    assert named(meant.model, CATALOG).model == meant.model


@pytest.mark.parametrize(
    ("effort", "advertised", "sent"),
    [
        ("ultra", (), "max"),
        ("minimal", ("low", "medium"), "low"),
        ("minimal", ("high", "medium"), "medium"),
        ("minimal", ("none", "minimal", "medium"), "medium"),
        ("minimal", ("minimal",), "low"),
        ("minimal", (), "low"),
        ("high", ("low",), "high"),
        ("effort-of-next-year", (), "effort-of-next-year"),
        ("none", ("low",), "none"),
        ("", (), ""),
    ],
)
def test_an_effort_goes_in_upstreams_words(effort: str, advertised: tuple[str, ...], sent: str) -> None:
    assert upstream_effort(effort, advertised) == sent
