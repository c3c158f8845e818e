"""The model list: complete entries as real ones, per plan. Pure."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from tests.support.simulator.prompts import JsonObject

_PAID: Final = ("business", "edu", "enterprise", "plus", "pro", "team")
_EVERY: Final = (*_PAID, "free", "go")
_TOP: Final = ("enterprise", "pro")
_INSTRUCTIONS: Final = (
    "You are a coding agent running in a terminal on the user's computer. Read before you change, change little, "
    "verify what you did, and say plainly what you could not do. Prefer the tools you were given to guesses.\n"
) * 8


@dataclass(frozen=True, slots=True)
class _Model:
    slug: str
    plans: Sequence[str] = _PAID
    context: int = 272_000
    context_max: int = 272_000
    since: str = "0.144.0"
    is_hidden: bool = False
    modalities: Sequence[str] = ("text", "image")
    prefers_websockets: bool = False
    is_lite: bool = False


_MODELS: Final = (
    _Model("gpt-6-astra", _TOP, 400_000, 1_000_000, "0.160.0", prefers_websockets=True, is_lite=True),
    _Model("gpt-6.1-sol", _PAID, 400_000, 1_000_000, "0.166.0", prefers_websockets=True, is_lite=True),
    _Model("gpt-6.1-terra", _PAID, 400_000, 1_000_000, "0.166.0", prefers_websockets=True, is_lite=True),
    _Model("gpt-6-sol", _PAID, 400_000, 872_000, "0.160.0", prefers_websockets=True, is_lite=True),
    _Model("gpt-6-luna", _EVERY, 400_000, 872_000, "0.160.0", prefers_websockets=True, is_lite=True),
    _Model("gpt-5.6-sol", _PAID, context_max=872_000, prefers_websockets=True),
    _Model("gpt-5.6-terra", _PAID, context_max=872_000, prefers_websockets=True),
    _Model("gpt-5.6-luna", _EVERY, context_max=872_000, prefers_websockets=True),
    _Model("gpt-5.5", _EVERY, since="0.124.0"),
    _Model("gpt-5.4", _PAID, context_max=1_000_000, since="0.98.0"),
    _Model("gpt-5.4-mini", _EVERY, since="0.98.0"),
    _Model("gpt-5.3-codex", _PAID, since="0.98.0"),
    _Model("gpt-5.3-codex-spark", _TOP, 128_000, 128_000, "0.100.0", modalities=("text",)),
    _Model("gpt-5.2", _EVERY, since="0.60.0"),
    _Model("gpt-5.2-codex", _PAID, since="0.60.0"),
    _Model("codex-auto-review", _PAID, since="0.100.0", is_hidden=True),
)


@dataclass(frozen=True, slots=True)
class Catalog:
    """A model list, encoded once."""

    slugs: frozenset[str]
    body: bytes
    etag: str

    @classmethod
    def of(cls, entries: Sequence[JsonObject]) -> "Catalog":
        """The list with exactly these entries."""
        body = msgspec.json.encode({"models": entries})
        slugs = frozenset(str(entry.get("slug")) for entry in entries)
        return cls(slugs, body, f'W/"{zlib.crc32(body):08x}"')


def catalog_of_plan(plan: str) -> Catalog:
    """What an account of this plan is offered."""
    return Catalog.of([entry for entry in ENTRIES if plan in _plans(entry)] or ENTRIES)


def _plans(entry: JsonObject) -> Sequence[object]:
    plans = entry["available_in_plans"]
    return plans if isinstance(plans, list) else ()


def _entry(model: _Model, priority: int) -> JsonObject:
    efforts = ["low", "medium", "high", "xhigh"] + (["max", "ultra"] if model.is_lite else [])
    return {
        "slug": model.slug,
        "display_name": model.slug.upper(),
        "description": f"Simulated {model.slug}.",
        "default_reasoning_level": "medium",
        "supported_reasoning_levels": [{"effort": effort, "description": f"{effort} effort"} for effort in efforts],
        "shell_type": "shell_command",
        "visibility": "hide" if model.is_hidden else "list",
        "minimal_client_version": model.since,
        "supported_in_api": not model.is_hidden,
        "priority": priority,
        "availability_nux": None,
        "upgrade": None,
        "base_instructions": _INSTRUCTIONS,
        "supports_reasoning_summaries": True,
        "default_reasoning_summary": "auto",
        "support_verbosity": True,
        "default_verbosity": "low",
        "apply_patch_tool_type": "freeform",
        "web_search_tool_type": "text_and_image",
        "truncation_policy": {"mode": "bytes" if model.slug == "gpt-5.2" else "tokens", "limit": 10_000},
        "supports_parallel_tool_calls": not model.is_lite,
        "supports_image_detail_original": "image" in model.modalities,
        "context_window": model.context,
        "max_context_window": model.context_max,
        "auto_compact_token_limit": None,
        "effective_context_window_percent": 95,
        "experimental_supported_tools": [],
        "input_modalities": list(model.modalities),
        "supports_search_tool": False,
        "prefer_websockets": model.prefers_websockets,
        "available_in_plans": list(model.plans),
        "reasoning_summary_format": "experimental",
        "use_responses_lite": model.is_lite,
        "tool_mode": "code" if model.is_lite else None,
        "multi_agent_version": 2 if model.is_lite else None,
        "comp_hash": None,
        "service_tiers": [{"id": "priority", "name": "Fast", "description": "1.5x speed, more usage"}],
        "additional_speed_tiers": ["fast"],
        "default_service_tier": None,
    }


ENTRIES: Final[Sequence[JsonObject]] = tuple(_entry(model, n) for n, model in enumerate(_MODELS))
