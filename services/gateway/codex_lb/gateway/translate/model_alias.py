"""Names of models that also say how: `gpt-5.4-high-fast` is gpt-5.4 with effort high and tier priority. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

Catalog = Mapping[str, Sequence[str]]  # the models that are offered, each with the reasoning efforts it advertises

FAMILIES: Final = ("gpt-5", "gpt-6")
EFFORT_OF: Final = {
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "extra": "high",
}
TIER_OF: Final = {"fast": "priority", "priority": "priority"}
MEANINGLESS: Final = frozenset({"reasoning", "thinking"})
SUFFIXES: Final = EFFORT_OF.keys() | TIER_OF.keys() | MEANINGLESS
REASONING: Final = ("low", "medium", "high", "xhigh", "max", "ultra")  # from least to most


@dataclass(frozen=True, slots=True)
class Named:
    """What a name stands for; empty where it says nothing."""

    model: str
    effort: str = ""
    service_tier: str = ""


def named(name: str, catalog: Catalog) -> Named:
    """The model of the catalog that the name is a variant of; the name itself when it is a model's, or nothing known."""
    base, effort, tier = name, "", ""
    while base not in catalog:
        base, _, suffix = base.rpartition("-")
        if suffix not in SUFFIXES:
            return Named(name)
        effort = effort or EFFORT_OF.get(suffix, "")  # of two that disagree, the last one was meant
        tier = tier or TIER_OF.get(suffix, "")
    return Named(base, effort, tier) if base.startswith(FAMILIES) else Named(name)


def upstream_effort(effort: str, advertised: Sequence[str]) -> str:
    """The effort in upstream's words. On `minimal` it hangs; `ultra` is a client's name for more than one turn at `max`."""
    if effort == "ultra":
        return "max"
    if effort == "minimal":
        return next((least for least in REASONING if least in advertised), "low")
    return effort
