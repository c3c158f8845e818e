"""The worker's settings: the names people set, the defaults they get, the mistakes they are told of."""

from __future__ import annotations

from pathlib import Path

import pytest

from codex_lb.kit.settings import ConfigurationError, load
from codex_lb.usage_worker.app import kinds_wanted
from codex_lb.usage_worker.settings import WorkerSettings
from codex_lb.usage_worker.usage import usage_url
from codex_lb.usage_worker.work import TicketKind

ALWAYS = {TicketKind.ROTATION, TicketKind.PROBE, TicketKind.ALERT}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # away from anybody's .env
    for name in WorkerSettings.model_fields:
        monkeypatch.delenv(f"CODEX_LB_{name.upper()}", raising=False)


def test_nothing_needs_to_be_set() -> None:
    settings = load(WorkerSettings)

    assert settings.upstream_base_url == "https://chatgpt.com/backend-api"
    assert settings.model_registry_client_version == "0.144.0"
    assert (settings.usage_fetch_timeout_seconds, settings.usage_fetch_max_retries) == (10, 2)
    assert settings.token_refresh_timeout_seconds == 30


def test_the_environment_names_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "CODEX_LB_UPSTREAM_BASE_URL": "http://127.0.0.1:1/backend-api",
        "CODEX_LB_USAGE_REFRESH_ENABLED": "false",
        "CODEX_LB_USAGE_FETCH_TIMEOUT_SECONDS": "3.5",
        "CODEX_LB_USAGE_FETCH_MAX_RETRIES": "1",
        "CODEX_LB_MODEL_REGISTRY_ENABLED": "false",
        "CODEX_LB_MODEL_REGISTRY_CLIENT_VERSION": "0.166.0",
        "CODEX_LB_AUTH_BASE_URL": "http://127.0.0.1:2",
        "CODEX_LB_OAUTH_CLIENT_ID": "app_x",
        "CODEX_LB_TOKEN_REFRESH_TIMEOUT_SECONDS": "8",
        "CODEX_LB_CONTROL_TARGET": "unix:/run/control.sock",
        "CODEX_LB_SERVICE_TOKEN": "between-us",
        "CODEX_LB_CONTROL_TLS_CA_FILE": "/etc/ca.pem",
        "CODEX_LB_WORKER_HTTP_LISTEN": "127.0.0.1:3",
    }.items():
        monkeypatch.setenv(name, value)

    settings = load(WorkerSettings)

    assert settings.model_dump(exclude={"service_token"}) == {
        "upstream_base_url": "http://127.0.0.1:1/backend-api",
        "usage_refresh_enabled": False,
        "usage_fetch_timeout_seconds": 3.5,
        "usage_fetch_max_retries": 1,
        "model_registry_enabled": False,
        "model_registry_client_version": "0.166.0",
        "auth_base_url": "http://127.0.0.1:2",
        "oauth_client_id": "app_x",
        "token_refresh_timeout_seconds": 8,
        "control_target": "unix:/run/control.sock",
        "control_tls_ca_file": Path("/etc/ca.pem"),
        "worker_http_listen": "127.0.0.1:3",
    }
    assert "between-us" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CODEX_LB_UPSTREAM_BASE_URL", "chatgpt.com"),
        ("CODEX_LB_USAGE_FETCH_TIMEOUT_SECONDS", "0"),
        ("CODEX_LB_MODEL_REGISTRY_CLIENT_VERSION", "latest"),
        ("CODEX_LB_TOKEN_REFRESH_TIMEOUT_SECONDS", "90"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=name):
        load(WorkerSettings)


@pytest.mark.parametrize(
    ("off", "kinds"),
    [
        ({}, {TicketKind.USAGE, TicketKind.MODELS, *ALWAYS}),
        ({"usage_refresh_enabled": False}, {TicketKind.MODELS, *ALWAYS}),
        ({"usage_refresh_enabled": False, "model_registry_enabled": False}, ALWAYS),
    ],
)
def test_what_is_switched_off_is_not_claimed_and_rotations_probes_and_alerts_cannot_be(
    off: dict[str, bool], kinds: set[TicketKind]
) -> None:
    settings = WorkerSettings(**off)  # type: ignore[arg-type] # booleans, for boolean fields

    assert set(kinds_wanted(settings)) == kinds


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://chatgpt.com/backend-api", "https://chatgpt.com/backend-api/wham/usage"),
        ("https://chatgpt.com/backend-api/", "https://chatgpt.com/backend-api/wham/usage"),
        ("https://chatgpt.com", "https://chatgpt.com/backend-api/wham/usage"),
    ],
)
def test_usage_is_fetched_from_under_backend_api(base: str, url: str) -> None:
    assert usage_url(base) == url
