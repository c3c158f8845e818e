"""Keeps secrets and forged lines out of the logs. Pure: text in, text out.

Masks rather too much than too little: whoever reads a log can ask again, whoever reads a token can use it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any

MASK = "***"
TEXT_CHARS_MAX = 16 * 2**10  # a traceback through all our layers takes half of it
NAMES_MAX = 1024  # field names remembered; ours are a few dozen
DEPTH_MAX = 6  # of nested fields; deeper ones are shown as text

# Names of things whose values are secret. "tokens" counts something; "_id", "_at" and so on only describe.
_NAME = r"(?:token(?!s)|secret|passw|authorization|cookie|api[_-]?key|private[_-]?key)[\w.-]{0,40}"
_DESCRIBES = r"(?<!_id)(?<!_at)(?<!_s)(?<!_count)(?<!_type)"
_SENSITIVE_NAME = re.compile(rf"{_NAME}{_DESCRIBES}\Z", re.IGNORECASE | re.ASCII)

# What stands between a name and its value: in key=value, JSON, a repr, a URL, a list of header pairs.
_BETWEEN = r"""(?:\\*["']?\s*(?:[=:]>?|%3[ad])\s*|\\*["']\s*,\s*(?=b?\\*["']))"""
_QUOTED = r"""\\+"[^"\n]*"?|\\+'[^'\n]*'?|b?"(?:[^"\\\n]|\\.)*"?|b?'(?:[^'\\\n]|\\.)*'?"""
_BARE = r"""[^\s"'&,;)\]}]"""
_VALUE = rf"(?:(?:bearer|basic)\s+)*(?:(?:{_QUOTED}){_BARE}*|{_BARE}+)"
# A lookahead, so that every name counts, also one that stands inside what was taken for the value of another.
_NAMED_VALUE = re.compile(rf"(?={_NAME}{_DESCRIBES}{_BETWEEN}({_VALUE}))", re.IGNORECASE | re.ASCII)

# A whole header, because cookies contain spaces and quotes.
_HEADER = re.compile(r"""((?:authorization|cookie)\s*[=:]\s*)[^\s"'\\][^\r\n]*""", re.IGNORECASE)

_BOUNDARY = r"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))"  # task- and start_ are words
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)"), rf"\1{MASK}"),  # the password of a database URL
    (re.compile(r"(bearer\s+)(?!bearer\s)[\w.~+/=-]{8,}", re.IGNORECASE | re.ASCII), rf"\1{MASK}"),
    (re.compile(r"eyJ[\w-]{6,}(?:\.[\w-]*)*", re.ASCII), f"eyJ{MASK}"),
    (re.compile(r"sk-clb-[\w-]+", re.ASCII), f"sk-clb-{MASK}"),
    (re.compile(rf"{_BOUNDARY}sk-(?!clb-)[\w-]{{8,}}", re.ASCII), f"sk-{MASK}"),
    (re.compile(rf"{_BOUNDARY}rt([_-])[\w.~+/=-]{{8,}}", re.ASCII), rf"rt\1{MASK}"),
    (re.compile(r"([^\s@<>\"'(),:;=\[\]*])[^\s@<>\"'(),:;=\[\]]{0,63}@(?=[\w-]+\.[\w.-]*\w)"), rf"\1{MASK}@"),
)

# What every masking needs to be there, in lower case. Most lines have none of it, and looking is all they cost.
_HINTS = ("token", "secret", "passw", "authorization", "cookie", "key", "bearer", "eyj", "sk-", "rt_", "rt-", "@")

# Line ends and terminal codes, and what reorders or breaks lines in viewers.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTROL_IN_BLOCK = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_BLOCKS = frozenset({"exception", "stack"})  # may have several lines


def redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: masks the message, every field and the rendered traceback."""
    if _is_harmless(event):
        return event
    return {
        _redacted_name(name): _redacted_block(str(value)) if name in _BLOCKS else redacted(value, name)
        for name, value in event.items()
    }


def _is_harmless(event: Mapping[str, object]) -> bool:
    """Whether nothing in an event of plain text could need masking: true of nearly all, and told at a third of the cost."""
    parts: list[str] = []
    for name, value in event.items():
        parts.append(name)
        if type(value) is str:
            parts.append(value)
        elif type(value) is not int:
            return False
    text = " ".join(parts)
    return len(text) <= TEXT_CHARS_MAX and text.isprintable() and not _has_hint(text)


def redacted(value: object, name: str = "", depth: int = 0) -> object:
    """The value of a field called `name`, made of plain types only and without secrets."""
    if type(value) is str:  # nearly all of them
        return MASK if is_sensitive(name) else redacted_text(value)
    match value:
        case None | bool() | int() | float():
            return value
        case _ if is_sensitive(name):
            return MASK
        case Mapping() if depth < DEPTH_MAX:
            return {redacted_text(str(key)): redacted(item, str(key), depth + 1) for key, item in value.items()}
        case (str() | bytes() as key, secret) if is_sensitive(_as_text(key)):  # a header as a pair
            return [redacted_text(_as_text(key)), MASK if secret else secret]
        case list() | tuple() | set() | frozenset() if depth < DEPTH_MAX:
            return [redacted(item, name, depth + 1) for item in value]
        case _:
            return redacted_text(_as_text(value))


def redacted_text(text: str) -> str:
    """One line without secrets, of bounded length, with control characters escaped."""
    return _escaped(_masked(_bounded(text.rstrip())), _CONTROL)


@lru_cache(NAMES_MAX)
def is_sensitive(name: str) -> bool:
    """Whether a value of this name must not be shown."""
    return _SENSITIVE_NAME.search(name) is not None


@lru_cache(NAMES_MAX)
def _redacted_name(name: str) -> str:
    return redacted_text(name)


def _redacted_block(text: str) -> str:
    return _escaped(_masked(_bounded(text.rstrip())), _CONTROL_IN_BLOCK)


def _has_hint(text: str) -> bool:
    folded = text.casefold()
    for hint in _HINTS:  # noqa: SIM110 - any() costs more than all of these together
        if hint in folded:
            return True
    return False


def _masked(text: str) -> str:
    if not _has_hint(text):
        return text
    text = _without_named_values(_HEADER.sub(rf"\1{MASK}", text))
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _without_named_values(text: str) -> str:
    """The text with a mask in place of each value that stands behind a sensitive name; values may overlap."""
    parts, done = [], 0
    for found in _NAMED_VALUE.finditer(text):
        start, end = found.span(1)
        if start >= done:
            parts += [text[done:start], MASK]
        done = max(done, end)
    return "".join([*parts, text[done:]])


def _escaped(text: str, control: re.Pattern[str]) -> str:
    if text.isprintable():
        return text
    return control.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _bounded(text: str) -> str:
    left_out = len(text) - TEXT_CHARS_MAX
    return text if left_out <= 0 else f"{text[:TEXT_CHARS_MAX]}… ({left_out} more characters)"


def _as_text(value: object) -> str:
    match value:
        case bytes():
            return value.decode(errors="backslashreplace")
        case BaseException():
            return repr(value)
        case _:
            return str(value)
