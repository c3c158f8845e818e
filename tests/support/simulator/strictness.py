"""What upstream refuses, and what a proxy must never let through. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from tests.support.simulator.prompts import JsonObject, input_items

_UNSUPPORTED: Final = (
    "max_output_tokens", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_logprobs", "metadata",
    "user", "truncation", "prompt_cache_retention", "prompt_cache_options", "safety_identifier", "stop", "seed",
    "presence_penalty", "frequency_penalty", "n", "logprobs", "logit_bias", "messages", "background", "conversation",
)  # fmt: skip
_LEAKED: Final = re.compile(
    r"x-forwarded-.*|forwarded|cookie|x-real-ip|true-client-ip|via|cf-connecting-ip|proxy-.*|x-codex-lb-.*"
)
_USUAL: Final = re.compile(
    r"authorization|chatgpt-account-id|user-agent|x-openai-.*|x-codex-.*"
    r"|host|accept|accept-encoding|connection|content-type|content-length|transfer-encoding"
)
_OUR_KEY: Final = re.compile(r"\bsk-clb-")


def leaked_headers(headers: Mapping[str, str]) -> Iterator[str]:
    """The headers that tell upstream about the proxy or its clients."""
    for name, value in headers.items():
        if _LEAKED.fullmatch(name.lower()) or _OUR_KEY.search(value):
            yield name.lower()


def unusual_headers(headers: Mapping[str, str]) -> Iterator[str]:
    """The headers that the firewall before uploads does not know."""
    return (name.lower() for name in headers if not _USUAL.fullmatch(name.lower()))


def refused(body: JsonObject, *, is_websocket: bool = False) -> str | None:
    """The ``detail`` with which the Responses endpoint refuses this body, or None."""
    if not is_websocket and body.get("stream") is not True:
        return "Stream must be set to true"
    if body.get("store") is not False:
        return "Store must be set to false"
    if not isinstance(body.get("model"), str):
        return "Model is required"
    if not isinstance(body.get("input"), list):
        return "Input must be a list"
    name = next((name for name in _UNSUPPORTED if name in body), None)
    if name is not None and not (is_websocket and name == "background"):
        return f"Unsupported parameter: {name}"
    return _refused_item(body)


def _refused_item(body: JsonObject) -> str | None:
    items = input_items(body)
    for item in items:
        if item.get("role") == "system":
            return "System messages are not allowed"
        if item.get("type") == "item_reference":
            return (
                f"Item with id '{item.get('id')}' not found. "
                "Items are not persisted when `store` is set to false. Try again with `store` set to true."
            )
    if any(item.get("type") == "compaction_trigger" for item in items[:-1]):
        return "compaction_trigger must be the last input item"
    return None
