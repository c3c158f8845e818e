"""What every route that starts a turn does with the request: reads it, and makes the turn of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import msgspec
from starlette.types import Receive, Scope

from codex_lb.gateway.continuity.classify import classify
from codex_lb.gateway.continuity.prefixes import Chain
from codex_lb.gateway.errors import UNREADABLE, ForbiddenError, KeyLimitReachedError
from codex_lb.gateway.ingress.body import read_body, unpack
from codex_lb.gateway.ingress.images import FetchImages
from codex_lb.gateway.leasing.policy import KeyPolicy, ListedModel, ReachedLimit
from codex_lb.gateway.routes.gate import Admitted, header
from codex_lb.gateway.sealed import Held
from codex_lb.gateway.translate.image_parts import image_urls, with_images
from codex_lb.gateway.translate.key_terms import FREE, KeyTerms
from codex_lb.gateway.translate.model_alias import Catalog
from codex_lb.gateway.turn.context import TurnRequest
from codex_lb.gateway.upstream.headers import RawHeader
from codex_lb.kit.clock import Clock

BYTES_PER_TOKEN = 4  # of English, code and JSON alike, about
INPUT_TOKENS_ESTIMATED_MAX = 32_768  # an image is megabytes of base64 and a thousand tokens
REMEMBERED_TOKENS_ESTIMATED = 8192  # data-plane reference 6.4


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came."""

    started: float  # monotonic
    started_at: datetime
    route: str
    headers: list[RawHeader]
    sent: bytes
    plain: bytes  # the same without its content encoding

    @property
    def is_zstd(self) -> bool:
        """Whether it was sent in the one encoding that upstream takes too."""
        return header(self.headers, b"content-encoding").strip().lower() == b"zstd"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the request asks for, as far as leases and the request log are concerned."""

    model: str
    reasoning_effort: str
    service_tier: str
    requested_model: str = ""  # where the client has another name for it


async def receive_request(
    scope: Scope, receive: Receive, clock: Clock, *, body_bytes_max: int, too_large_status: int
) -> Received:
    """Reads the body, within bounds. Raises InvalidRequestError, or ClientGoneError."""
    started, started_at = clock.monotonic(), clock.now()
    headers: list[RawHeader] = scope["headers"]
    sent = await read_body(
        receive,
        content_length=header(headers, b"content-length"),
        bytes_max=body_bytes_max,
        too_large_status=too_large_status,
    )
    encoding = header(headers, b"content-encoding")
    plain = unpack(sent, encoding, bytes_max=body_bytes_max, too_large_status=too_large_status)
    return Received(started, started_at, scope["path"], headers, sent, plain)


def turn_of(
    received: Received,
    admitted: Admitted,
    asked: Asked,
    *,
    turn_id: str,
    body: bytes,
    content_encoding: str = "",
    request_bytes: int | None = None,
    plain: bytes | None = None,
    is_continuation: bool = False,
    behind: Chain | None = None,
    items: Held = None,
) -> TurnRequest:
    """The turn that serves the request with this body for upstream. Raises ForbiddenError.

    `plain` is what the conversation is known by, where the body is packed or is not all of it; `behind` is the conversation
    that it continues without repeating it; `items` is its input, where that was read.
    """
    check_model(asked.model, admitted)
    return TurnRequest(
        turn_id=turn_id,
        started=received.started,
        started_at=received.started_at,
        route=received.route,
        headers=tuple(received.headers),
        body=body,
        content_encoding=content_encoding,
        requested_model=asked.requested_model or asked.model,
        model=asked.model,
        reasoning_effort=asked.reasoning_effort,
        service_tier=asked.service_tier,
        api_key_id=admitted.key.api_key_id if admitted.key else "",
        user_agent=header(received.headers, b"user-agent").decode("latin-1"),
        client_ip=str(admitted.caller.client or ""),
        session_id=session_of(received.headers),
        request_bytes=len(received.sent) if request_bytes is None else request_bytes,
        continuity=classify(received.headers, body if plain is None else plain, behind=behind, items=items),
        hides_quota=admitted.hides_quota,
        input_tokens_max=input_estimate(len(body if plain is None else plain), is_continuation=is_continuation),
    )


def input_estimate(size: int, *, is_continuation: bool) -> int:
    """Input tokens that a request of this size may come to; what upstream remembers of the conversation is not in it."""
    tokens = min(-(-size // BYTES_PER_TOKEN), INPUT_TOKENS_ESTIMATED_MAX)
    return max(tokens, REMEMBERED_TOKENS_ESTIMATED) if is_continuation else tokens


def terms_of(key: KeyPolicy | None) -> KeyTerms:
    """What the key says about requests."""
    if key is None:
        return FREE
    return KeyTerms(key.enforced_model, key.enforced_effort, key.enforced_tier, key.allowed_efforts)


def check_model(model: str, admitted: Admitted) -> None:
    """Raises ForbiddenError when the key may not use the model, KeyLimitReachedError when it has used up a limit."""
    key = admitted.key
    if key is None:
        return
    if key.allowed_models and model not in key.allowed_models:
        error = ForbiddenError(f"This API key does not have access to model '{model}'")
        error.code = "model_not_allowed"
        raise error
    for limit in key.reached_limits:
        if limit.model in ("", model) and limit.resets_at > admitted.at:
            raise KeyLimitReachedError(limit_words(limit), retry_at=limit.resets_at, resets_at=limit.resets_at)


def limit_words(limit: ReachedLimit) -> str:
    """What is said of a limit that is used up; control says the same."""
    of_model = f" for model {limit.model}" if limit.model else ""
    resets = f"Usage resets at {limit.resets_at:%Y-%m-%dT%H:%M:%SZ}."
    return f"API key {limit.unit} {limit.window} limit exceeded{of_model}. {resets}"


class Level(msgspec.Struct):
    """What is read of a reasoning level."""

    effort: str


class CatalogEntry(msgspec.Struct):
    """What is read of a model's entry."""

    supported_reasoning_levels: list[Level] = []


@lru_cache(maxsize=4)  # a new snapshot every few minutes, a look at it for every turn
def catalog_of(models: tuple[ListedModel, ...]) -> Catalog:
    """The models of a snapshot with the reasoning efforts they advertise; none of what cannot be read."""
    return {model.slug: _efforts(model.entry_json) for model in models}


def _efforts(entry_json: bytes) -> tuple[str, ...]:
    try:
        entry = msgspec.json.decode(entry_json, type=CatalogEntry)
    except UNREADABLE:
        return ()
    return tuple(level.effort for level in entry.supported_reasoning_levels)


async def with_fetched_images(body: bytes, fetch: FetchImages) -> bytes:
    """The body with the images in it that it names by URL; itself when it names none, or none can be had."""
    urls = image_urls(body)
    return with_images(body, await fetch(urls)) if urls else body


SESSION_HEADERS = (b"session-id", b"session_id", b"x-codex-session-id", b"thread-id", b"x-session-id")


def session_of(headers: list[RawHeader]) -> str:
    """The session a client names, empty without one; cut, because it is only shown."""
    for name in SESSION_HEADERS:
        if value := header(headers, name):
            return value[:120].decode("latin-1")
    return ""
