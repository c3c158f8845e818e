"""Nobody becomes local, or another client, by what a header says."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.kit.client_ip import Caller, RawHeader, caller_of, host_name, read_address

LOOPBACK = (ip_network("127.0.0.1/32"), ip_network("::1/128"))
PROXIES = (*LOOPBACK, ip_network("10.0.0.0/24"))
HOST = (b"host", b"localhost:2455")
FORWARDING = [
    b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-forwarded-server",
    b"forwarded", b"x-real-ip", b"true-client-ip", b"cf-connecting-ip", b"via",
]  # fmt: skip


def call(peer: str, *headers: RawHeader, trust: bool = False) -> Caller:
    return caller_of(peer, [HOST, *headers], trust_headers=trust, trusted_proxies=PROXIES)


def behind(*headers: RawHeader, peer: str = "10.0.0.1") -> str:
    """Who the client is, behind trusted proxies."""
    return str(call(peer, *headers, trust=True).client)


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize(
    "host", [b"localhost", b"LOCALHOST:2455", b"127.0.0.1", b"127.0.0.1:80", b"[::1]", b"[::1]:2455", b"::1", b""]
)
def test_a_program_on_this_machine_is_local(peer: str, host: bytes) -> None:
    caller = caller_of(peer, [(b"host", host)], trust_headers=False, trusted_proxies=())

    assert caller.is_local
    assert caller.peer == caller.client


def test_a_request_without_a_host_is_local() -> None:
    assert caller_of("127.0.0.1", [], trust_headers=False, trusted_proxies=()).is_local


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"localhost.evil.example",
        b"127.0.0.1.evil",
        b"localhost:80.evil",
        b"[::1]evil",
        b"[::1",
        b"::2",
        b"evil@localhost",
        b"localhost,evil",
        b"0.0.0.0",
        b"192.168.1.5:2455",
    ],
)
def test_a_name_that_was_bent_to_this_machine_is_not_local(host: bytes) -> None:
    assert not caller_of("127.0.0.1", [(b"host", host)], trust_headers=False, trusted_proxies=()).is_local


@pytest.mark.parametrize("peer", ["192.168.1.5", "172.17.0.1", "::ffff:192.168.1.5", "2001:db8::1", "", "testclient"])
def test_another_machine_is_not_local(peer: str) -> None:
    assert not call(peer).is_local


@pytest.mark.parametrize("name", FORWARDING)
@given(value=st.sampled_from([b"127.0.0.1", b"::1", b"localhost", b"for=127.0.0.1", b""]) | st.binary(max_size=20))
def test_without_trust_whatever_came_through_something_is_not_local(name: bytes, value: bytes) -> None:
    caller = call("127.0.0.1", (name, value))

    assert not caller.is_local
    assert caller.client == ip_address("127.0.0.1")  # the socket's, not the header's


@given(st.lists(st.tuples(st.sampled_from(FORWARDING), st.binary(max_size=20)), min_size=1))
def test_trust_is_for_trusted_peers_only(headers: list[RawHeader]) -> None:
    caller = call("192.168.1.5", *headers, trust=True)

    assert not caller.is_local
    assert caller.client == ip_address("192.168.1.5")


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ([(b"x-forwarded-for", b"203.0.113.7")], "203.0.113.7"),
        ([(b"x-forwarded-for", b"203.0.113.7, 10.0.0.9")], "203.0.113.7"),
        ([(b"x-forwarded-for", b"127.0.0.1, 203.0.113.7, 10.0.0.9")], "203.0.113.7"),  # the left end is anybody's
        ([(b"x-forwarded-for", b"203.0.113.7:5123")], "203.0.113.7"),
        ([(b"x-forwarded-for", b"[2001:db8::1]:5123")], "2001:db8::1"),
        ([(b"x-forwarded-for", b"::ffff:203.0.113.7")], "203.0.113.7"),
        ([(b"x-forwarded-for", b"10.0.0.7, 10.0.0.9")], "10.0.0.7"),
        ([(b"forwarded", b"for=203.0.113.7;proto=https;by=10.0.0.9")], "203.0.113.7"),
        ([(b"forwarded", b'For="[2001:db8::1]:4711", for=10.0.0.9')], "2001:db8::1"),
        ([(b"forwarded", b"for=127.0.0.1, for=203.0.113.7")], "203.0.113.7"),
        ([(b"x-real-ip", b"203.0.113.7")], "203.0.113.7"),
        ([(b"true-client-ip", b"203.0.113.7")], "203.0.113.7"),
        ([(b"cf-connecting-ip", b"2001:db8::1")], "2001:db8::1"),
        ([(b"x-real-ip", b"203.0.113.7"), (b"x-forwarded-for", b"203.0.113.7")], "203.0.113.7"),
        ([(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-proto", b"https"), (b"via", b"1.1 x")], "203.0.113.7"),
    ],
)
def test_a_trusted_proxy_is_believed(headers: list[RawHeader], client: str) -> None:
    assert behind(*headers) == client


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-forwarded-for", b"127.0.0.1"), (b"x-forwarded-for", b"127.0.0.1")],
        [(b"x-real-ip", b"127.0.0.1"), (b"x-real-ip", b"203.0.113.7")],
        [(b"x-forwarded-for", b"203.0.113.7"), (b"x-real-ip", b"127.0.0.1")],
        [(b"x-forwarded-for", b"127.0.0.1"), (b"forwarded", b"for=203.0.113.7")],
        [(b"x-real-ip", b"127.0.0.1, 203.0.113.7")],
        [(b"x-forwarded-for", b"127.0.0.1,")],
        [(b"x-forwarded-for", b"")],
        [(b"x-forwarded-for", b"unknown")],
        [(b"x-forwarded-for", b"[::1]evil")],
        [(b"x-forwarded-for", b"[::1")],
        [(b"x-forwarded-for", b"127.0.0.1:evil")],
        [(b"x-forwarded-for", b"127.1")],
        [(b"x-forwarded-for", b"0x7f000001")],
        [(b"x-forwarded-for", b"127.0.0.1\xff")],
        [(b"forwarded", b"proto=https")],
        [(b"forwarded", b"for=_hidden")],
        [(b"forwarded", b"for=unknown")],
        [(b"forwarded", b"for=203.0.113.7;for=127.0.0.1")],
        [(b"forwarded", b'for=203.0.113.7;host="a,for=127.0.0.1')],
        [(b"forwarded", b'host="a,for=127.0.0.1"')],
        [(b"forwarded", b"for")],
        [(b"x-forwarded-proto", b"https")],
    ],
)
def test_headers_that_disagree_repeat_or_make_no_sense_name_nobody(headers: list[RawHeader]) -> None:
    for peer in ("10.0.0.1", "127.0.0.1"):
        caller = call(peer, *headers, trust=True)

        assert not caller.is_local
        assert caller.client is None


def test_a_client_on_this_machine_is_local_through_a_trusted_proxy_too() -> None:
    assert call("127.0.0.1", (b"x-forwarded-for", b"127.0.0.1"), trust=True).is_local
    assert not call("127.0.0.1", (b"x-forwarded-for", b"203.0.113.7"), trust=True).is_local


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_none(text: str) -> None:
    address = read_address(text)

    assert address is None or read_address(str(address)) == address


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_address_is_read_with_and_without_its_port(address: object, port: int) -> None:
    plain = str(address)
    with_port = f"[{plain}]:{port}" if ":" in plain else f"{plain}:{port}"

    assert read_address(plain) == read_address(with_port) == read_address(f" {plain} ")


def test_a_zone_belongs_to_an_address() -> None:
    assert read_address("fe80::1%eth0") == ip_address("fe80::1%eth0")


@given(st.binary(max_size=30))
def test_any_host_has_a_name(value: bytes) -> None:
    assert host_name(value) in value.lower()
