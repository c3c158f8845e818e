"""Is an address one that anybody on the internet may be sent to? Pure.

`ipaddress` answers by IANA's registries as its Python release knew them; what differs between releases, and what
reaches another address through the one that is named, stands here.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address

GLOBAL_UNICAST: Final = IPv6Network("2000::/3")  # all that is assigned for the public; the rest of IPv6 is not
NAT64: Final = IPv6Network("64:ff9b::/96")  # how a host without IPv4 reaches one (RFC 6052)
NOT_PUBLIC_V4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; some clouds keep their metadata here
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, and the metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
NOT_PUBLIC_V6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocol assignments, among them Teredo, which embeds IPv4 addresses
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which embeds IPv4 addresses
        "3fff::/20",  # documentation
    )
)


def is_public(address: Address) -> bool:
    """False for whatever might be this machine, its neighbours or its cloud."""
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in NOT_PUBLIC_V4)
    if address in NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return (
        address.scope_id is None
        and address.is_global
        and address in GLOBAL_UNICAST
        and not any(address in network for network in NOT_PUBLIC_V6)
    )
