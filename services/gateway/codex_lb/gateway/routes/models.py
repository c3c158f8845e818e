"""GET /v1/models (OpenAI's list) and GET /backend-api/codex/models (the Codex catalog), from the policy snapshot."""

from __future__ import annotations

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
# Codex reads the whole list or nothing: an entry without these breaks it (data-plane reference 1.10).
REQUIRED_BY_CODEX: dict[str, object] = {
    "truncation_policy": {"mode": "tokens", "limit": 10_000},
    "experimental_supported_tools": [],
}


class Models:
    """One ASGI endpoint for both lists; `?client_version=` asks for the catalog on /v1 too."""

    def __init__(self, gate: Gate, clock: Clock, *, is_codex: bool) -> None:
        self._gate = gate
        self._clock = clock
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
            body = documents(admitted.policy.models, allowed, int(self._clock.now().timestamp()) // 3600 * 3600)
            etag = admitted.policy.catalog_etag.encode()
            if as_catalog and etag:
                headers.append((b"etag", etag))
            await reply(send, 200, body.catalog if as_catalog else body.openai, headers)
        except GatewayError as error:
            await reply_error(send, error, headers)


@dataclass(frozen=True, slots=True)
class Documents:
    """Both lists, encoded."""

    catalog: bytes
    openai: bytes


@lru_cache(maxsize=16)  # snapshots change every few minutes, lists are asked for at every start of a client
def documents(models: tuple[ListedModel, ...], allowed: frozenset[str], created: int) -> Documents:
    """The lists of the models a key may use; an empty set allows all."""
    listed = [m for m in models if not allowed or m.slug in allowed]
    entries = [entry for m in listed if (entry := complete_entry(m)) is not None]
    data = [openai_entry(entry, created) for entry in entries if entry.get("visibility", "list") != "hide"]
    listing = {"object": "list", "data": data}
    return Documents(
        catalog=msgspec.json.encode({"models": entries, **listing}),
        openai=msgspec.json.encode(listing),
    )


def complete_entry(model: ListedModel) -> dict[str, object] | None:
    """A catalog entry with all that Codex insists on; unknown members stay. None when it is no object."""
    try:
        entry = msgspec.json.decode(model.entry_json, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return {**REQUIRED_BY_CODEX, **{k: v for k, v in entry.items() if v is not None or k not in REQUIRED_BY_CODEX}}


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
