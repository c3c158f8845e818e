"""Who may spend the pool: a valid key when keys are on, else this machine and listed networks."""

from __future__ import annotations

import hashlib
import sys
from contextlib import suppress
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from types import FrameType

import pytest

from codex_lb.gateway.errors import ForbiddenAddressError, UnauthenticatedError
from codex_lb.gateway.ingress.authenticate import authenticate, check_address, check_key
from codex_lb.gateway.leasing.policy import NEVER, KeyPolicy, Policy
from codex_lb.kit.client_ip import Caller
from tests.support.clock import NOON

GOOD, EXPIRED, DISABLED, UNTIL_NOON = "sk-clb-good", "sk-clb-expired", "sk-clb-disabled", "sk-clb-until-noon"
ROTATED, OVERLAPPING = "sk-clb-rotated", "sk-clb-overlapping"
LOCAL = Caller(ip_address("127.0.0.1"), ip_address("127.0.0.1"), is_local=True)


def key(
    name: str, *, enabled: bool = True, expires_at: datetime = NEVER, replaced_at: datetime = NEVER
) -> tuple[bytes, KeyPolicy]:
    return hashlib.sha256(name.encode()).digest(), KeyPolicy(name, name, enabled, expires_at, replaced_at)


def policy(*, keys_on: bool, networks: tuple[str, ...] = ()) -> Policy:
    keys = (
        key(GOOD, expires_at=NOON + timedelta(days=1)),
        key(EXPIRED, expires_at=NOON - timedelta(seconds=1)),
        key(UNTIL_NOON, expires_at=NOON),
        key(DISABLED, enabled=False),
        key(ROTATED, replaced_at=NOON),
        key(OVERLAPPING, replaced_at=NOON + timedelta(seconds=1)),
    )
    return Policy(
        history_id="h",
        api_key_auth_enabled=keys_on,
        unauthenticated_client_networks=tuple(ip_network(n) for n in networks),
        keys=dict(keys),
    )


def remote(peer: str, *, client: str | None = None) -> Caller:
    return Caller(ip_address(peer), ip_address(client or peer), is_local=False)


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   "])
@pytest.mark.parametrize("caller", [LOCAL, remote("203.0.113.7")])
def test_a_valid_key_pays_from_wherever_it_comes(scheme: str, caller: Caller) -> None:
    paying = authenticate(policy(keys_on=True), caller, (scheme + GOOD).encode(), now=NOON)

    assert paying is not None
    assert paying.api_key_id == GOOD


@pytest.mark.parametrize(
    ("authorization", "said"),
    [
        ("", "Missing API key"),
        ("Bearer", "Missing API key"),
        ("Bearer ", "Missing API key"),
        (GOOD, "Missing API key"),
        (f"Basic {GOOD}", "Missing API key"),
        (f"Bearer\t{GOOD}", "Missing API key"),
        ("Bearer sk-clb-unknown", "Invalid API key"),
        (f"Bearer {GOOD} {GOOD}", "Invalid API key"),
        (f"Bearer {GOOD.upper()}", "Invalid API key"),
        (f"Bearer {DISABLED}", "Invalid API key"),
        (f"Bearer {ROTATED}", "Invalid API key"),
        (f"Bearer {EXPIRED}", "expired"),
        (f"Bearer {UNTIL_NOON}", "expired"),
        ("Bearer \xff\xfe", "Invalid API key"),
    ],
)
@pytest.mark.parametrize("caller", [LOCAL, remote("192.168.1.5")])
def test_with_keys_on_nobody_passes_without_one(authorization: str, said: str, caller: Caller) -> None:
    with pytest.raises(UnauthenticatedError, match=said):
        authenticate(
            policy(keys_on=True, networks=("192.168.1.0/24",)), caller, authorization.encode("latin-1"), now=NOON
        )


@pytest.mark.parametrize("authorization", [b"", b"Bearer anything", f"Bearer {GOOD}".encode(), b"Basic x"])
def test_with_keys_off_this_machine_passes_and_a_key_means_nothing(authorization: bytes) -> None:
    assert authenticate(policy(keys_on=False), LOCAL, authorization, now=NOON) is None


def test_with_keys_off_a_stranger_is_told_what_to_do_even_with_a_good_key() -> None:
    with pytest.raises(UnauthenticatedError, match="CODEX_LB_PROXY_UNAUTHENTICATED_CLIENT_CIDRS"):
        authenticate(policy(keys_on=False), remote("203.0.113.7"), f"Bearer {GOOD}".encode(), now=NOON)


@pytest.mark.parametrize(
    ("peer", "passes"),
    [("192.168.1.5", True), ("192.168.2.5", False), ("2001:db8::7", True), ("2001:db9::7", False)],
)
def test_with_keys_off_a_listed_network_passes(peer: str, passes: bool) -> None:
    listed = policy(keys_on=False, networks=("192.168.1.0/24", "2001:db8::/32"))

    if passes:
        assert authenticate(listed, remote(peer), b"", now=NOON) is None
    else:
        with pytest.raises(UnauthenticatedError):
            authenticate(listed, remote(peer), b"", now=NOON)


def test_a_network_is_that_of_the_socket_and_not_of_a_header() -> None:
    with pytest.raises(UnauthenticatedError):
        authenticate(
            policy(keys_on=False, networks=("192.168.1.0/24",)),
            remote("203.0.113.7", client="192.168.1.5"),
            b"",
            now=NOON,
        )


def test_a_caller_without_an_address_is_a_stranger() -> None:
    with pytest.raises(UnauthenticatedError):
        authenticate(policy(keys_on=False), Caller(None, None, is_local=False), b"", now=NOON)


def test_while_a_rotation_overlaps_the_old_secret_works() -> None:
    assert check_key(policy(keys_on=True), f"Bearer {OVERLAPPING}".encode(), now=NOON).api_key_id == OVERLAPPING


def test_a_wrong_key_takes_the_same_path_as_one_that_works_no_more() -> None:
    """Line by line: what would take longer for one of them is a line that the others do not have."""
    paths = {key: lines_run(f"Bearer {key}") for key in ("sk-clb-unknown", EXPIRED, DISABLED, ROTATED)}

    assert len(set(paths.values())) == 1


def lines_run(authorization: str) -> tuple[int, ...]:
    lines: list[int] = []

    def trace(frame: FrameType, event: str, _: object) -> object:
        if frame.f_code is check_key.__code__ and event == "line":
            lines.append(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]  # its own stub cannot name the recursion
    try:
        with suppress(UnauthenticatedError):
            check_key(policy(keys_on=True), authorization.encode(), now=NOON)
    finally:
        sys.settrace(before)
    return tuple(lines)


@pytest.mark.parametrize(
    ("client", "passes"), [("192.168.1.5", True), ("192.168.2.5", False), ("2001:db8::7", True), (None, False)]
)
def test_with_an_allow_list_only_those_on_it_are_talked_to(client: str | None, passes: bool) -> None:
    listed = Policy(allowed_client_networks=(ip_network("192.168.1.0/24"), ip_network("2001:db8::/32")))
    caller = Caller(ip_address("127.0.0.1"), ip_address(client) if client else None, is_local=True)

    if passes:
        check_address(listed, caller)
    else:
        with pytest.raises(ForbiddenAddressError):
            check_address(listed, caller)


def test_without_an_allow_list_everybody_is_talked_to() -> None:
    check_address(Policy(), remote("203.0.113.7"))
