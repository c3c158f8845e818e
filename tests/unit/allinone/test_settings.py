"""Settings of the all-in-one."""

from __future__ import annotations

import pytest

from codex_lb.allinone.settings import AllInOneSettings
from codex_lb.kit.settings import ConfigurationError, load


def test_host_and_port_may_come_as_platforms_set_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "0.0.0.0")
    monkeypatch.setenv("PORT", "8080")

    settings = load(AllInOneSettings)

    assert (settings.host, settings.port) == ("0.0.0.0", 8080)


def test_our_own_variables_outrank_those(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8080")
    monkeypatch.setenv("CODEX_LB_PORT", "2499")

    assert load(AllInOneSettings).port == 2499


def test_a_port_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_LB_PORT", "http")

    with pytest.raises(ConfigurationError, match="CODEX_LB_PORT is 'http'"):
        load(AllInOneSettings)
