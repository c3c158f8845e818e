"""Whether a browser's request comes from a page of ours. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}


def is_own_origin(origin: str, hosts: Iterable[str]) -> bool:
    """Whether an Origin header names one of the hosts under which we are visited.

    Its scheme does not count: behind a proxy that ends TLS we are visited by https and asked by http. A page without
    an origin ("null") is nobody's.
    """
    try:
        found = urlsplit(origin)
    except ValueError:
        return False
    scheme = found.scheme.lower()
    return scheme in DEFAULT_PORTS and _plain(found.netloc, scheme) in {_plain(host, scheme) for host in hosts if host}


def _plain(host: str, scheme: str) -> str:
    """In small letters, without the port that goes without saying."""
    return host.strip().lower().removesuffix(f":{DEFAULT_PORTS[scheme]}")
