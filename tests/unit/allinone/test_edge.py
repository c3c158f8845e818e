"""The path table."""

from __future__ import annotations

import pytest

from codex_lb.allinone.edge import Part, part_of


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/v1/responses", Part.GATEWAY),
        ("/v1", Part.GATEWAY),
        ("/backend-api/codex/responses", Part.GATEWAY),
        ("/backend-api/transcribe", Part.GATEWAY),
        ("/api/codex/usage", Part.GATEWAY),
        ("/api/codex.SystemService/GetStatus", Part.CONTROL),
        ("/api/AccountService/ListAccounts", Part.CONTROL),
        ("/api", Part.CONTROL),
        ("/auth/callback", Part.CONTROL),
        ("/health", Part.HEALTH),
        ("/health/ready", Part.HEALTH),
        ("/", Part.UI),
        ("/accounts", Part.UI),
        ("/v1beta/models", Part.UI),
        ("/authors", Part.UI),
        ("/healthy", Part.UI),
        ("", Part.UI),
    ],
)
def test_a_path_belongs_to_the_first_prefix_it_begins_with_by_whole_segments(path: str, part: Part) -> None:
    assert part_of(path) is part
