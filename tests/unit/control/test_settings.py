"""Control's settings: the promised names, their defaults and their meaning."""

from __future__ import annotations

from pathlib import Path

import pytest

from codex_lb.control.settings import ControlSettings
from codex_lb.kit.settings import ConfigurationError, load


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are read from the working directory too; here is none."""
    monkeypatch.chdir(tmp_path)


def test_database_and_key_lie_in_the_data_folder_unless_they_are_set(tmp_path: Path) -> None:
    settings = ControlSettings(data_dir=tmp_path)

    assert settings.database == f"sqlite+aiosqlite:///{tmp_path}/store.db"
    assert settings.key_file == tmp_path / "encryption.key"


def test_every_promised_name_has_its_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DATABASE_URL": "postgresql+asyncpg://user:password@db/codex_lb",
        "DATABASE_MIGRATE_ON_STARTUP": "false",
        "DATABASE_SQLITE_PRE_MIGRATE_BACKUP_ENABLED": "false",
        "DATABASE_SQLITE_PRE_MIGRATE_BACKUP_MAX_FILES": "2",
        "DATABASE_POOL_SIZE": "20",
        "DATABASE_MAX_OVERFLOW": "3",
        "DATABASE_POOL_TIMEOUT_SECONDS": "7.5",
        "DATABASE_MIGRATIONS_FAIL_FAST": "false",
        "ENCRYPTION_KEY_FILE": "~/keys/encryption.key",
        "USAGE_REFRESH_ENABLED": "false",
        "USAGE_REFRESH_INTERVAL_SECONDS": "120",
        "MODEL_REGISTRY_ENABLED": "false",
        "MODEL_REGISTRY_REFRESH_INTERVAL_SECONDS": "600",
        "PROXY_ACCOUNT_STREAM_LIMIT": "4",
        "PROXY_UNAUTHENTICATED_CLIENT_CIDRS": "10.0.0.0/8, fd00::/8",
        "UPSTREAM_STREAM_TRANSPORT": "websocket",
        "CONTROL_LISTEN": "unix:/run/control.sock, 0.0.0.0:2456",
        "METRICS_ENABLED": "true",
        "METRICS_PORT": "9191",
    }.items():
        monkeypatch.setenv(f"CODEX_LB_{name}", value)

    settings = load(ControlSettings)

    assert settings.database == "postgresql+asyncpg://user:password@db/codex_lb"
    assert not settings.database_migrate_on_startup
    assert not settings.database_sqlite_pre_migrate_backup_enabled
    assert settings.database_sqlite_pre_migrate_backup_max_files == 2
    assert (settings.database_pool_size, settings.database_max_overflow) == (20, 3)
    assert settings.database_pool_timeout_seconds == 7.5
    assert not settings.database_migrations_fail_fast
    assert settings.key_file == Path.home() / "keys/encryption.key"
    assert (settings.usage_refresh_enabled, settings.usage_refresh_interval_seconds) == (False, 120)
    assert (settings.model_registry_enabled, settings.model_registry_refresh_interval_seconds) == (False, 600)
    assert settings.proxy_account_stream_limit == 4
    assert [str(n) for n in settings.proxy_unauthenticated_client_cidrs] == ["10.0.0.0/8", "fd00::/8"]
    assert settings.upstream_stream_transport == "websocket"
    assert settings.control_listen == ("unix:/run/control.sock", "0.0.0.0:2456")
    assert (settings.metrics_enabled, settings.metrics_port) == (True, 9191)


def test_defaults_are_the_promised_ones() -> None:
    settings = ControlSettings()

    assert (settings.database_pool_size, settings.database_max_overflow) == (15, 10)
    assert (settings.usage_refresh_interval_seconds, settings.model_registry_refresh_interval_seconds) == (60, 300)
    assert (settings.proxy_account_stream_limit, settings.upstream_stream_transport) == (8, "auto")
    assert (settings.control_listen, settings.http_address) == (("127.0.0.1:2456",), ("127.0.0.1", 2457))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CODEX_LB_USAGE_REFRESH_INTERVAL_SECONDS", "inf"),
        ("CODEX_LB_MODEL_REGISTRY_REFRESH_INTERVAL_SECONDS", "1e9"),
        ("CODEX_LB_TOKEN_REFRESH_INTERVAL_DAYS", "1e12"),
        ("CODEX_LB_TOKEN_REFRESH_GAP_SECONDS", "3600"),
    ],
)
def test_a_period_that_can_only_be_a_mistake_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=name):
        load(ControlSettings)


def test_a_database_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_LB_DATABASE_URL", "postgresql+asyncpg://user:hunter2@db/codex_lb")

    assert "hunter2" not in repr(load(ControlSettings))


def test_a_certificate_without_its_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_LB_CONTROL_TLS_CERT_FILE", "/etc/cert.pem")

    with pytest.raises(ConfigurationError, match="belong together"):
        load(ControlSettings)
