"""Whose page sent a request."""

from __future__ import annotations

import pytest

from codex_lb.control.web.origin import is_own_origin


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:2455", "localhost:2455"),
        ("https://pool.example.test", "pool.example.test"),
        ("https://pool.example.test", "Pool.Example.Test:443"),
        ("http://pool.example.test:80", "pool.example.test"),
        ("http://[::1]:2455", "[::1]:2455"),
    ],
)
def test_a_page_of_the_host_that_is_asked_is_ours(origin: str, host: str) -> None:
    assert is_own_origin(origin, ["", host])


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("null", "null"),
        ("", ""),
        ("http://", ""),
        ("http://pool.example.test", "pool.example.test:2455"),
        ("https://pool.example.test", "pool.example.test:80"),
        ("http://pool.example.test.evil.test", "pool.example.test"),
        ("http://evil.test/pool.example.test", "pool.example.test"),
        ("http://pool.example.test@evil.test", "pool.example.test"),
        ("ftp://pool.example.test", "pool.example.test"),
        ("file://pool.example.test", "pool.example.test"),
        ("http://[::1", "[::1"),
    ],
)
def test_no_other_page_is(origin: str, host: str) -> None:
    assert not is_own_origin(origin, [host])
