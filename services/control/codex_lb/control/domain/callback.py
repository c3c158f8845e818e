"""The address that a browser is sent to when a person has signed in, or has declined to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from codex_lb.control.errors import InvalidCallbackError

URL_CHARS_MAX = 8 * 2**10  # longer than any browser sends
VALUE_CHARS_MAX = 4 * 2**10
TOLD_CHARS_MAX = 200  # of what the issuer says, in a sentence of ours


@dataclass(frozen=True, slots=True)
class Callback:
    """What the address says. Its code is good for one login."""

    state: str
    code: str
    error: str = ""
    description: str = ""

    def __repr__(self) -> str:
        return "Callback(…)"  # neither code nor state must reach a log


def read_url(url: str) -> Callback:
    """Of an address that somebody pasted; nothing else than its query matters. Raises InvalidCallbackError."""
    url = url.strip()
    if len(url) > URL_CHARS_MAX:
        raise InvalidCallbackError(f"The address is longer than {URL_CHARS_MAX} characters.")
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, max_num_fields=50))
    except ValueError:
        query = {}
    return read_query(query)


def read_query(query: Mapping[str, str]) -> Callback:
    """Raises InvalidCallbackError when it is not the end of a sign-in."""
    found = Callback(
        state=_value(query, "state"),
        code=_value(query, "code"),
        error=_value(query, "error"),
        description=_value(query, "error_description"),
    )
    if not found.state or not (found.code or found.error):
        raise InvalidCallbackError(
            "That is not the address of the last page of a sign-in: it must have code=… and state=… in it."
            " Copy the whole address from the browser's address bar."
        )
    return found


def refusal_of(callback: Callback) -> str:
    """What a person is told of a sign-in that the issuer's page ended without a code."""
    if callback.error == "access_denied":
        return "The sign-in was declined on the issuer's page. Start again when it should be allowed."
    said = ": ".join(told(text) for text in (callback.error, callback.description) if text)
    return f"The issuer's page ended the sign-in ({said}). Start again."


def told(text: str) -> str:
    """Words of others inside a sentence of ours: one line, bounded."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:TOLD_CHARS_MAX]


def _value(query: Mapping[str, str], name: str) -> str:
    value = query.get(name, "")
    return value if len(value) <= VALUE_CHARS_MAX else ""
