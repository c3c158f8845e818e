"""Which headers travel, in both directions. Pure. What is not on a deny-list passes (data-plane reference 2.2)."""

from __future__ import annotations

from collections.abc import Iterable

from codex_lb.gateway.upstream import turn_state

Header = tuple[str, str]
RawHeader = tuple[bytes, bytes]

# Ours, the hop's, or what would tell upstream about the client's network.
NOT_UPSTREAM = frozenset({
    b"accept",
    b"accept-encoding",
    b"authorization",  # the client's key, or a signed-in Codex's own ChatGPT token: never forwarded
    b"chatgpt-account-id",
    b"connection",
    b"content-encoding",  # set anew when the body goes as it came
    b"content-length",
    b"content-type",
    b"cookie",
    b"expect",
    b"forwarded",
    b"host",
    b"keep-alive",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"true-client-ip",
    b"upgrade",
    b"via",
    b"fastly-client-ip",
    b"fly-client-ip",
    b"x-api-key",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-codex-lb-required-capability",
    b"x-codex-routing-hint",  # of the user's own account
    b"x-real-ip",
})  # fmt: skip
NOT_UPSTREAM_PREFIXES = (b"x-forwarded-", b"cf-", b"sec-", b"x-envoy-")

# What of upstream's answer concerns the client. An account's own quota does not: it is one of many.
DOWNSTREAM = frozenset({
    "content-type",
    "openai-processing-ms",
    "openai-version",
    "x-reasoning-included",
})  # fmt: skip

VERSION = "0.1.0"


def upstream_headers(
    inbound: Iterable[RawHeader],
    *,
    access_token: str,
    chatgpt_account_id: str,
    accept: str,
    content_encoding: str,
    request_id: str,
) -> list[Header]:
    """Headers of an upstream request: the client's own, less what is ours, plus the account's."""
    headers = [
        (name.decode("latin-1"), text_of(value))
        for name, value in inbound
        if name not in NOT_UPSTREAM and not name.startswith(NOT_UPSTREAM_PREFIXES)
    ]
    names = {name for name, _ in headers}
    headers.append(("authorization", f"Bearer {access_token}"))
    if chatgpt_account_id:
        headers.append(("chatgpt-account-id", chatgpt_account_id))
    headers.append(("accept", accept))
    headers.append(("accept-encoding", "identity"))
    headers.append(("content-type", "application/json"))
    if content_encoding:
        headers.append(("content-encoding", content_encoding))
    if "user-agent" not in names:
        headers.append(("user-agent", f"codex-lb/{VERSION}"))
    if "x-request-id" not in names and "request-id" not in names:
        headers.append(("x-request-id", request_id))
    return headers


def text_of(value: bytes) -> str:
    """A header value such that aiohttp, which writes UTF-8, sends the bytes that came; Latin-1 where it is no UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def downstream_headers(answer: Iterable[Header], account_id: str, *, model_is_as_asked: bool) -> list[RawHeader]:
    """Headers of upstream's answer that the client gets.

    `openai-model` only when the model is the one asked for: Codex takes another one for a flagged account. A turn state
    goes out with its account's id in front.
    """
    passed: list[RawHeader] = []
    for name, value in answer:
        name = name.lower()  # noqa: PLW2901 - there is no other spelling from here on
        if name == "x-codex-turn-state":
            value = turn_state.marked(value, account_id)  # noqa: PLW2901
        elif name not in DOWNSTREAM and not (model_is_as_asked and name == "openai-model"):
            continue
        passed.append((name.encode("latin-1"), value.encode("utf-8", "surrogateescape")))  # as aiohttp decoded it
    return passed


WEBSOCKETS_BETA = "responses_websockets=2026-02-06"
# What a handshake does not carry because the WebSocket client writes it, or because a body would need it.
NOT_IN_HANDSHAKE = frozenset({"accept", "accept-encoding", "content-type"})


def handshake_headers(
    inbound: Iterable[RawHeader], *, access_token: str, chatgpt_account_id: str, request_id: str
) -> list[Header]:
    """Headers of a WebSocket handshake with upstream (data-plane reference 5.1)."""
    headers = upstream_headers(
        inbound,
        access_token=access_token,
        chatgpt_account_id=chatgpt_account_id,
        accept="",
        content_encoding="",
        request_id=request_id,
    )
    kept = [(name, value) for name, value in headers if name not in NOT_IN_HANDSHAKE and name != "openai-beta"]
    asked = [v.strip() for name, value in headers if name == "openai-beta" for v in value.split(",") if v.strip()]
    tokens = [token for token in asked if token not in ("responses=experimental", WEBSOCKETS_BETA)]
    return [*kept, ("openai-beta", ",".join([*tokens, WEBSOCKETS_BETA]))]
