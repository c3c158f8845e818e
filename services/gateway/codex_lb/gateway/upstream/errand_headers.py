"""Headers of the small upstream calls that are not turns, by what the endpoint lets through. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from codex_lb.gateway.upstream.headers import (
    NOT_UPSTREAM,
    NOT_UPSTREAM_PREFIXES,
    VERSION,
    Header,
    RawHeader,
    text_of,
)

# The firewall before upstream's uploads refuses a request with others (data-plane reference 2.2).
UPLOAD_PREFIXES = (b"x-openai-", b"x-codex-")


def open_headers(inbound: Iterable[RawHeader]) -> tuple[RawHeader, ...]:
    """All of the client's headers but those that are ours."""
    return tuple(
        (name, value)
        for name, value in inbound
        if name not in NOT_UPSTREAM and not name.startswith(NOT_UPSTREAM_PREFIXES)
    )


def upload_headers(inbound: Iterable[RawHeader]) -> tuple[RawHeader, ...]:
    """The few that uploads may carry."""
    return tuple(
        (name, value)
        for name, value in open_headers(inbound)
        if name == b"user-agent" or name.startswith(UPLOAD_PREFIXES)
    )


def signed(
    passed: Iterable[RawHeader], *, access_token: str, chatgpt_account_id: str, accept: str, content_type: str
) -> list[Header]:
    """The client's headers with the account's; an empty content type is none."""
    headers = [(name.decode("latin-1"), text_of(value)) for name, value in passed]
    if all(name != "user-agent" for name, _ in headers):
        headers.append(("user-agent", f"codex-lb/{VERSION}"))
    headers.append(("authorization", f"Bearer {access_token}"))
    if chatgpt_account_id:
        headers.append(("chatgpt-account-id", chatgpt_account_id))
    headers.append(("accept", accept))
    headers.append(("accept-encoding", "identity"))
    if content_type:
        headers.append(("content-type", content_type))
    return headers
