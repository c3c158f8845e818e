"""An alert in the form a target takes: signed JSON, or what a chat service calls a message. Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

from codex_lb.control.domain.alert import Alert, Target, TargetKind
from codex_lb.control.errors import InvalidUpdateError

URL_CHARS_MAX = 2000
MESSAGE_CHARS_MAX = 1900  # Discord takes 2000
SIGNATURE = "x-codex-lb-signature"


@dataclass(frozen=True, slots=True)
class Address:
    """What is secret of a target."""

    url: str
    secret: str = ""  # signs webhooks
    chat_id: str = ""  # Telegram only

    def __repr__(self) -> str:
        return "Address(…)"


@dataclass(frozen=True, slots=True)
class Place:
    """A target with its address."""

    target: Target
    address: Address


@dataclass(frozen=True, slots=True)
class Post:
    """A request that tells somebody. Its URL may hold a token."""

    url: str
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return "Post(…)"


def post_of(alert: Alert, kind: TargetKind, address: Address, *, now: datetime) -> Post:
    """The request."""
    condition = alert.condition
    words = f"{condition.title}\n{condition.text}"[:MESSAGE_CHARS_MAX]
    match kind:
        case TargetKind.SLACK:
            return _plain(address.url, {"text": words})
        case TargetKind.DISCORD:
            return _plain(address.url, {"content": words, "allowed_mentions": {"parse": []}})
        case TargetKind.TELEGRAM:
            return _plain(address.url, {"chat_id": address.chat_id, "text": words})
        case TargetKind.WEBHOOK:
            return _signed(address, _body(_facts(alert)), now=now)


def checked_address(kind: TargetKind, address: Address) -> str:
    """The host of an address that can be posted to. Raises InvalidUpdateError with the field's name.

    Addresses inside one's own network are meant; those that only a cloud's metadata answers are not.
    """
    try:
        parts = urlsplit(address.url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise InvalidUpdateError("url is none.") from error
    if parts.scheme not in ("http", "https") or not host or len(address.url) > URL_CHARS_MAX:
        raise InvalidUpdateError("url must begin with http:// or https:// and name a host.")
    if parts.username is not None or any(c.isspace() or not c.isprintable() for c in address.url):
        raise InvalidUpdateError("url must not hold a user name, spaces or control characters.")
    if _is_metadata(host):
        raise InvalidUpdateError("url names a link-local address.")
    if kind is TargetKind.TELEGRAM and not address.chat_id:
        raise InvalidUpdateError("chat_id must say which chat.")
    return host


def _is_metadata(host: str) -> bool:
    try:
        return ip_address(host).is_link_local
    except ValueError:
        return False


def _facts(alert: Alert) -> dict[str, object]:
    condition = alert.condition
    return {
        "id": alert.alert_id,
        "kind": condition.kind.value,
        "subject": condition.subject,
        "title": condition.title,
        "text": condition.text,
        "raised_at": alert.raised_at.isoformat(),
        "recovers_at": condition.recovers_at.isoformat() if condition.recovers_at else None,
    }


def _plain(url: str, members: Mapping[str, object]) -> Post:
    return Post(url, {"content-type": "application/json"}, _body(members))


def _signed(address: Address, body: bytes, *, now: datetime) -> Post:
    """The instant is signed too, so that a recorded request can be told from a new one."""
    headers = {"content-type": "application/json"}
    if address.secret:
        at = str(int(now.timestamp()))
        digest = hmac.new(address.secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        headers[SIGNATURE] = f"t={at},v1={digest}"
    return Post(address.url, headers, body)


def _body(members: Mapping[str, object]) -> bytes:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
