"""Wrong secrets are counted by where they come from, within bounds."""

from __future__ import annotations

from ipaddress import ip_address

from codex_lb.kit.failed_attempts import ADDRESSES_MAX, PERIOD_S, FailedAttempts

ATTEMPTS_MAX = 5
ADDRESS = ip_address("203.0.113.7")


def test_an_address_has_so_many_attempts_in_a_period_and_then_those_of_the_next() -> None:
    failed = FailedAttempts(attempts_max=ATTEMPTS_MAX)

    waits = [failed.failed(ADDRESS, now_s=10.0) for _ in range(ATTEMPTS_MAX)]

    assert set(waits) == {0.0}
    assert failed.failed(ADDRESS, now_s=20.0) == PERIOD_S - 10.0
    assert failed.failed(ip_address("203.0.113.8"), now_s=20.0) == 0.0
    assert failed.failed(ADDRESS, now_s=10.0 + PERIOD_S) == 0.0


def test_asking_how_long_to_wait_is_no_attempt_and_is_answered_also_before_the_next_one() -> None:
    failed = FailedAttempts(attempts_max=2)

    waits = []
    for _ in range(2):
        waits += [failed.wait_s(ADDRESS, now_s=10.0), failed.wait_s(ADDRESS, now_s=10.0)]
        failed.failed(ADDRESS, now_s=10.0)

    assert set(waits) == {0.0}
    assert failed.wait_s(ADDRESS, now_s=30.0) == PERIOD_S - 20.0
    assert failed.wait_s(ADDRESS, now_s=10.0 + PERIOD_S) == 0.0


def test_an_attempt_that_turns_out_to_be_none_is_forgiven() -> None:
    failed = FailedAttempts(attempts_max=2)

    for _ in range(5):
        failed.failed(ADDRESS, now_s=0.0)
        failed.forgive(ADDRESS)
    after_good_ones = failed.wait_s(ADDRESS, now_s=0.0)
    failed.failed(ADDRESS, now_s=0.0)
    failed.failed(ADDRESS, now_s=0.0)
    failed.forgive(ip_address("203.0.113.8"))

    assert (after_good_ones, failed.wait_s(ADDRESS, now_s=0.0)) == (0.0, PERIOD_S)


def test_one_who_has_a_network_of_ipv6_addresses_counts_as_one() -> None:
    failed = FailedAttempts(attempts_max=ATTEMPTS_MAX)

    for host in range(ATTEMPTS_MAX):
        failed.failed(ip_address(f"2001:db8:0:1::{host:x}"), now_s=0.0)

    assert failed.failed(ip_address("2001:db8:0:1:ffff::1"), now_s=0.0) > 0
    assert failed.failed(ip_address("2001:db8:0:2::1"), now_s=0.0) == 0.0


def test_memory_is_bounded_and_the_address_that_was_silent_longest_goes_first() -> None:
    failed = FailedAttempts(attempts_max=ATTEMPTS_MAX)
    for _ in range(ATTEMPTS_MAX + 1):
        failed.failed(ADDRESS, now_s=0.0)

    for number in range(ADDRESSES_MAX):
        failed.failed(ip_address(number), now_s=1.0)

    assert len(failed) == ADDRESSES_MAX
    assert failed.failed(ADDRESS, now_s=2.0) == 0.0
