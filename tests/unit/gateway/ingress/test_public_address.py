"""Addresses that a fetch may be sent to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis.strategies import ip_addresses

from codex_lb.gateway.ingress.public_address import is_public

PRIVATE_V4 = str.split(
    "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.254 "
    "169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1 192.168.1.1 "
    "198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 233.252.0.1 239.255.255.255 240.0.0.1 255.255.255.255"
)
PUBLIC_V4 = str.split(
    "1.1.1.1 8.8.8.8 9.255.255.255 100.63.255.255 100.128.0.0 172.15.0.1 172.32.0.1 192.167.1.1 223.1.2.3"
)


@pytest.mark.parametrize("address", PRIVATE_V4)
def test_an_address_that_is_not_everybodys_is_refused(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC_V4)
def test_an_address_of_everybodys_is_taken(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("embed", ["::{}", "::ffff:{}", "::ffff:0:{}", "64:ff9b::{}", "64:ff9b:1::{}"])
@pytest.mark.parametrize("address", PRIVATE_V4)
def test_an_address_in_another_is_refused_like_the_one_it_leads_to(address: str, embed: str) -> None:
    assert not is_public(ip_address(embed.format(address)))


@pytest.mark.parametrize("address", [*PRIVATE_V4, *PUBLIC_V4])
def test_tunnels_are_refused_wherever_they_lead(address: str) -> None:
    inner = int(IPv4Address(address))
    sixtofour = IPv6Address(0x2002 << 112 | inner << 80 | 1)
    teredo_server = IPv6Address(0x20010000 << 96 | inner << 64 | 0xF7F7F7F7)
    teredo_client = IPv6Address(0x20010000 << 96 | 0x08080808 << 64 | inner ^ 0xFFFFFFFF)

    assert not any(map(is_public, (sixtofour, teredo_server, teredo_client)))


def test_a_host_without_ipv4_reaches_public_ones_through_nat64() -> None:
    assert is_public(ip_address("64:ff9b::8.8.8.8"))


@pytest.mark.parametrize(
    "address",
    str.split(
        ":: ::1 100::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 ff0e::1 2001:db8::1 2001:2::1 2001:10::1 "
        "2001:20::1 3fff::1 4000::1 5f00::1 2606:4700::1%eth0"
    ),
)
def test_an_ipv6_address_that_is_not_everybodys_is_refused(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["2606:4700:4700::1111", "2001:4860:4860::8888", "2a00:1450:4001:80b::200e"])
def test_an_ipv6_address_of_everybodys_is_taken(address: str) -> None:
    assert is_public(ip_address(address))


@given(ip_addresses())
def test_what_the_registries_do_not_call_global_is_refused(address: IPv4Address | IPv6Address) -> None:
    if is_public(address):
        assert address.is_global
        assert not any((address.is_private, address.is_loopback, address.is_link_local, address.is_multicast))
