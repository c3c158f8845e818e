"""Headers that keep a browser from doing with our answers what nobody meant it to do."""

from __future__ import annotations

from functools import wraps

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Of every answer; a page brings a policy of its own, which allows what is written in it.
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


def with_security_headers(app: ASGIApp) -> ASGIApp:
    """The app, with these headers in every answer that has not set them."""

    @wraps(app)
    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                present = {name.lower() for name, _ in headers}
                message["headers"] = headers + [header for header in HEADERS if header[0] not in present]
            await send(message)

        await app(scope, receive, send_guarded)

    return guarded


def page_policy(nonce: str) -> str:
    """The policy of a page: nothing from elsewhere, and only the style and script that carry the nonce."""
    return (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
