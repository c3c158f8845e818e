"""What the command line makes of its arguments before typer sees them."""

from __future__ import annotations

import pytest

from codex_lb.allinone.cli import understood


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], ["serve"]),
        (["--port", "8000"], ["serve", "--port", "8000"]),
        (["serve", "--host", "0.0.0.0"], ["serve", "--host", "0.0.0.0"]),
        (["--help"], ["--help"]),
        (["-h"], ["-h"]),
        (["--version"], ["--version"]),
        (["check"], ["check"]),
    ],
)
def test_without_a_command_the_command_is_serve(given: list[str], expected: list[str]) -> None:
    assert understood(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("admin accounts list --data-dir /x", "admin --data-dir /x accounts list"),
        ("admin accounts list --data-dir=/x --json", "admin --data-dir=/x accounts list --json"),
        ("admin --server h:1 status --token t", "admin --server h:1 --token t status"),
        ("admin accounts pause -- --data-dir", "admin accounts pause -- --data-dir"),
        ("admin status --data-dir", "admin --data-dir status"),
        ("serve --data-dir /x", "serve --data-dir /x"),
    ],
)
def test_the_options_that_say_where_control_is_may_stand_anywhere_behind_admin(given: str, expected: str) -> None:
    assert understood(given.split()) == expected.split()
