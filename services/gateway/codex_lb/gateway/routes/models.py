"""GET /v1/models (OpenAI's list) and GET /backend-api/codex/models (the Codex catalog), from the policy snapshot."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import msgspec
from starlette.types import Receive, Scope, Send

from codex_lb.gateway.errors import ControlUnavailableError, GatewayError
from codex_lb.gateway.leasing.policy import ListedModel
from codex_lb.gateway.routes.gate import Gate, answer_headers
from codex_lb.gateway.routes.replies import reply, reply_error
from codex_lb.kit.clock import Clock
from codex_lb.kit.ids import new_id

OWNER = "codex-lb"
EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"})  # those that Codex knows
VISIBILITIES = ("list", "hide", "none")
CONTEXT_TOKENS = 272_000  # of a model that does not say
# Codex reads the whole list or nothing: one entry without these, or with another type in one, breaks all of it (clients
# reference 3). A member whose value here is None may be null.
REQUIRED_BY_CODEX: dict[str, object] = {
    "description": "",
    "default_reasoning_level": "medium",
    "supported_reasoning_levels": [],
    "shell_type": "shell_command",
    "visibility": "list",
    "supported_in_api": True,
    "priority": 100,
    "availability_nux": None,
    "upgrade": None,
    "base_instructions": "",
    "supports_reasoning_summaries": False,
    "default_reasoning_summary": "auto",
    "support_verbosity": False,
    "default_verbosity": None,
    "apply_patch_tool_type": None,
    "web_search_tool_type": "text",
    "truncation_policy": {"mode": "tokens", "limit": 10_000},
    "supports_parallel_tool_calls": False,
    "supports_image_detail_original": False,
    "context_window": CONTEXT_TOKENS,
    "effective_context_window_percent": 95,
    "experimental_supported_tools": [],
    "input_modalities": ["text"],
    "supports_search_tool": False,
    "prefer_websockets": False,
    "minimal_client_version": "0.0.1",
}
Overrides = tuple[tuple[str, int], ...]  # context windows by model


class Models:
    """One ASGI endpoint for both lists; `?client_version=` asks for the catalog on /v1 too."""

    def __init__(self, gate: Gate, clock: Clock, context_windows: Mapping[str, int], *, is_codex: bool) -> None:
        self._gate = gate
        self._clock = clock
        self._context_windows = tuple(sorted(context_windows.items()))
        self._is_codex = is_codex

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's shape
        """Answers from memory."""
        headers = answer_headers(new_id("req"), None)
        try:
            admitted = self._gate.admit(scope)
            if not admitted.policy.is_known:
                raise ControlUnavailableError("The model list is not known yet. Try again in a few seconds.")
            allowed = admitted.key.allowed_models if admitted.key else frozenset()
            as_catalog = self._is_codex or b"client_version=" in scope["query_string"]
            created = int(self._clock.now().timestamp()) // 3600 * 3600
            body = documents(admitted.policy.models, allowed, created, self._context_windows)
            if as_catalog:
                headers.append((b"etag", body.etag))
            await reply(send, 200, body.catalog if as_catalog else body.openai, headers)
        except GatewayError as error:
            await reply_error(send, error, headers)


@dataclass(frozen=True, slots=True)
class Documents:
    """Both lists, encoded."""

    catalog: bytes
    openai: bytes
    etag: bytes  # of the entries: the same until a model changes for this caller


@lru_cache(maxsize=16)  # snapshots change every few minutes, lists are asked for at every start of a client
def documents(
    models: tuple[ListedModel, ...], allowed: frozenset[str], created: int, context_windows: Overrides = ()
) -> Documents:
    """The lists of the models a key may use; an empty set allows all."""
    context_window_of = dict(context_windows)
    listed = [m for m in models if not allowed or m.slug in allowed]
    complete = (complete_entry(m, context_window_of.get(m.slug)) for m in listed)
    entries = [entry for entry in complete if entry is not None and is_offered(entry)]
    data = [openai_entry(entry, created) for entry in entries if entry["visibility"] == "list"]
    listing = {"object": "list", "data": data}
    digest = hashlib.sha256(msgspec.json.encode(entries)).hexdigest()[:16]
    return Documents(
        catalog=msgspec.json.encode({"models": entries, **listing}),
        openai=msgspec.json.encode(listing),
        etag=f'W/"{digest}"'.encode(),
    )


def is_offered(entry: Mapping[str, object]) -> bool:
    """Upstream keeps models that only Codex's own shell can drive from its API; they are offered all the same."""
    return entry["supported_in_api"] is True or entry["shell_type"] == "shell_command"


def complete_entry(model: ListedModel, context_window: int | None = None) -> dict[str, object] | None:
    """A catalog entry with all that Codex insists on; unknown members stay. None when it is no object."""
    try:
        entry = msgspec.json.decode(model.entry_json, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    for name, default in {"slug": model.slug, "display_name": model.slug, **REQUIRED_BY_CODEX}.items():
        if name not in entry or not is_like(entry[name], default):
            entry[name] = default
    levels = entry["supported_reasoning_levels"]
    entry["supported_reasoning_levels"] = known_levels(levels if isinstance(levels, list) else [])
    if entry["default_reasoning_level"] not in EFFORTS:
        entry["default_reasoning_level"] = REQUIRED_BY_CODEX["default_reasoning_level"]
    if entry["visibility"] not in VISIBILITIES:
        entry["visibility"] = REQUIRED_BY_CODEX["visibility"]
    fit_context(entry, context_window)
    return entry


def is_like(value: object, default: object) -> bool:
    """Whether a member can stay: of the default's type, and an object with no member of the default's missing."""
    if default is None:
        return True
    if isinstance(default, dict):
        return isinstance(value, dict) and all(is_like(value.get(name), of) for name, of in default.items())
    return type(value) is type(default)  # exactly: a boolean is no number


def known_levels(levels: list[object]) -> list[dict[object, object]]:
    """The efforts that Codex knows, each with a description."""
    return [
        {**level, "description": level["description"] if isinstance(level.get("description"), str) else ""}
        for level in levels
        if isinstance(level, dict) and level.get("effort") in EFFORTS
    ]


def fit_context(entry: dict[str, object], wanted: int | None) -> None:
    """The operator's context window, where upstream's maximum leaves room for it (data-plane reference 1.10)."""
    base, largest = entry["context_window"], entry.get("max_context_window")
    base = base if isinstance(base, int) else CONTEXT_TOKENS
    largest = largest if type(largest) is int else base
    context = base if wanted is None else min(wanted, largest) if largest > base else wanted
    entry["context_window"], entry["max_context_window"] = context, max(largest, context)


def openai_entry(entry: dict[str, object], created: int) -> dict[str, object]:
    """An entry of OpenAI's list, with what other clients look for (data-plane reference 1.10)."""
    context = entry.get("context_window")
    modalities = entry.get("input_modalities")
    has_images = isinstance(modalities, list) and "image" in modalities
    has_reasoning = bool(entry.get("supported_reasoning_levels"))
    return {
        "id": entry.get("slug"),
        "object": "model",
        "created": created,
        "owned_by": OWNER,
        "api_types": ["responses"],
        "context_length": context,
        "supports_reasoning": has_reasoning,
        "supports_images": has_images,
        "supports_vision": has_images,
        "capabilities": {
            "context_length": context,
            "supports_reasoning": has_reasoning,
            "supports_images": has_images,
            "supports_vision": has_images,
            "supports_tool_use": True,
            "supports_streaming": True,
            "input_modalities": modalities or ["text"],
            "output_modalities": ["text"],
        },
        "metadata": {
            name: entry.get(name)
            for name in ("display_name", "description", "context_window", "supported_reasoning_levels", "priority")
        },
    }
