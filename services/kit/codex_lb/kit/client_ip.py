"""Who calls, and whether from this machine. Pure (data-plane reference 6.7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
RawHeader = tuple[bytes, bytes]

LOCAL_HOSTS = frozenset({b"", b"localhost", b"127.0.0.1", b"[::1]", b"::1"})
SINGLE_VALUED = (b"x-real-ip", b"true-client-ip", b"cf-connecting-ip")
NAMES_CLIENT = frozenset({b"forwarded", b"x-forwarded-for", *SINGLE_VALUED})
# `via` and the rest of `x-forwarded-*` do not say who the client is, only that there is somebody between.
FORWARDING = frozenset({b"via", *NAMES_CLIENT})

_ADDRESS = re.compile(r"\[([0-9a-f:.]+)\](?::\d{1,5})?|([0-9.]+):\d{1,5}|([0-9a-f:.]+(?:%[\w.-]+)?)", re.IGNORECASE)
_HOST = re.compile(rb"(\[[0-9a-f:.]+\]|[^:\[\]]*)(?::\d{0,5})?|([0-9a-f:.]+)")
# An element of `Forwarded` (RFC 7239); a `for` that is quoted holds no comma or semicolon, so one in there is no address.
_PAIR = re.compile(rb'\s*([a-z]+)=("[^",;]*"|[^",;\s]*)\s*')


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request comes from."""

    peer: Address | None  # the socket's other end; None for a unix socket
    client: Address | None  # the client behind trusted proxies; None when headers disagree
    is_local: bool


def caller_of(
    peer: str, headers: Iterable[RawHeader], *, trust_headers: bool, trusted_proxies: Sequence[Network]
) -> Caller:
    """The caller. Without trust, any forwarding header makes it not local: it came through something unknown."""
    address = read_address(peer)
    host = b""
    forwarding: list[RawHeader] = []
    for name, value in headers:
        if name == b"host":
            host = host_name(value)
        elif name in FORWARDING or name.startswith(b"x-forwarded-"):
            forwarding.append((name, value))
    by_name = host in LOCAL_HOSTS
    if not forwarding:
        return Caller(address, address, is_local=_is_loopback(address) and by_name)
    if not trust_headers or not is_in(address, trusted_proxies):
        return Caller(address, address, is_local=False)
    client = client_behind(forwarding, trusted_proxies)
    return Caller(address, client, is_local=_is_loopback(client) and by_name)


def client_behind(forwarding: Sequence[RawHeader], trusted_proxies: Sequence[Network]) -> Address | None:
    """The client that every header present agrees on; None when one is doubled, malformed or of another opinion."""
    opinions: set[Address | None] = set()
    seen: set[bytes] = set()
    for name, value in forwarding:
        if name not in NAMES_CLIENT:
            continue
        if name in seen:
            return None
        seen.add(name)
        if name == b"forwarded":
            opinions.add(_rightmost_untrusted(_forwarded_for(value), trusted_proxies))
        elif name == b"x-forwarded-for":
            opinions.add(_rightmost_untrusted(value.split(b","), trusted_proxies))
        else:
            opinions.add(read_address(value.decode("latin-1")))
    return opinions.pop() if len(opinions) == 1 else None


def _rightmost_untrusted(hops: Sequence[bytes], trusted_proxies: Sequence[Network]) -> Address | None:
    """Walks the chain from our side past the proxies we trust."""
    address: Address | None = None
    for hop in reversed(hops):
        address = read_address(hop.decode("latin-1"))
        if address is None or not is_in(address, trusted_proxies):
            return address
    return address


def _forwarded_for(value: bytes) -> list[bytes]:
    """The `for` of every hop (RFC 7239); a hop with none, with two or with something unreadable names nobody."""
    return [_for_of(element) for element in value.lower().split(b",")]


def _for_of(element: bytes) -> bytes:
    pairs = [_PAIR.fullmatch(pair) for pair in element.split(b";")]
    named = [pair[2].strip(b'"') for pair in pairs if pair is not None and pair[1] == b"for"]
    return named[0] if len(named) == 1 and None not in pairs else b""


@lru_cache(maxsize=1024)  # the same few clients come again and again
def read_address(text: str) -> Address | None:
    """An address with or without port and brackets; IPv4 inside IPv6 counts as IPv4. None when it is none."""
    found = _ADDRESS.fullmatch(text.strip())
    try:
        address = ip_address(found[1] or found[2] or found[3]) if found else None
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def host_name(value: bytes) -> bytes:
    """A Host header without its port; one that is malformed stays whole, and so is the name of nothing local."""
    value = value.strip().lower()
    found = _HOST.fullmatch(value)
    return value if found is None else found[1] if found[1] is not None else found[2]


def _is_loopback(address: Address | None) -> bool:
    return address is not None and address.is_loopback


def is_in(address: Address | None, networks: Iterable[Network]) -> bool:
    """Whether one of the networks holds the address."""
    return address is not None and any(address.version == n.version and address in n for n in networks)
