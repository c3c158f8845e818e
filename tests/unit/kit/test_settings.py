"""Settings: where they come from, and what a person reads when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, SecretStr, ValidationError, field_validator

from codex_lb.kit.settings import ConfigurationError, ServiceSettings, default_data_dir, load


class ShopSettings(ServiceSettings):
    """Settings of a service that does not exist."""

    shop_period_s: float = Field(default=60.0, gt=0)
    shop_names: list[str] = Field(default=[])
    shop_token: SecretStr | None = None

    @field_validator("shop_token")
    @classmethod
    def _long_enough(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and len(token.get_secret_value()) < 20:
            raise ValueError(f"{token.get_secret_value()} is too short")
        return token


class NeedySettings(ServiceSettings):
    """Settings that cannot do without one value."""

    needed_url: str = Field(description="where the shop is")


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_any_source_the_defaults_hold() -> None:
    assert load(ShopSettings) == ShopSettings(shop_period_s=60.0)


def test_the_environment_outranks_env_local_which_outranks_env(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workdir / ".env").write_text('CODEX_LB_SHOP_PERIOD_S=1\nCODEX_LB_SHOP_NAMES=["env"]\nOTHER=x\nCODEX_LB_ELSE=y\n')
    (workdir / ".env.local").write_text('CODEX_LB_SHOP_PERIOD_S=2\nCODEX_LB_SHOP_NAMES=["local"]\n')
    monkeypatch.setenv("CODEX_LB_SHOP_PERIOD_S", "3")

    settings = load(ShopSettings)

    assert settings.shop_period_s == 3
    assert settings.shop_names == ["local"]


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_LB_SHOP_PERIOD_S", "")

    assert load(ShopSettings).shop_period_s == 60.0


def test_a_wrong_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_LB_SHOP_PERIOD_S", "-5")

    with pytest.raises(ConfigurationError, match=r"CODEX_LB_SHOP_PERIOD_S is '-5': Input should be greater than 0"):
        load(ShopSettings)


def test_a_missing_value_is_named_with_its_purpose() -> None:
    with pytest.raises(ConfigurationError, match="CODEX_LB_NEEDED_URL is not set, but needed: where the shop is"):
        load(NeedySettings)


def test_a_list_that_is_not_json_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_LB_SHOP_NAMES", "a,b")

    with pytest.raises(ConfigurationError, match="CODEX_LB_SHOP_NAMES is not valid JSON"):
        load(ShopSettings)


def test_a_wrong_secret_is_named_but_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_LB_SHOP_TOKEN", "hunter2")

    with pytest.raises(ConfigurationError, match=r"CODEX_LB_SHOP_TOKEN: .*is too short") as raised:
        load(ShopSettings)

    assert "hunter2" not in str(raised.value)


def test_settings_are_frozen_and_mask_their_secrets() -> None:
    settings = ShopSettings(shop_token=SecretStr("x" * 20))

    with pytest.raises(ValidationError):
        settings.shop_period_s = 1.0

    assert "xxx" not in repr(settings)


def test_data_lives_in_the_home_directory_of_a_person(tmp_path: Path) -> None:
    assert default_data_dir(home=tmp_path / "home", root=tmp_path) == tmp_path / "home/.codex-lb"


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv"])
def test_in_a_container_data_lives_under_var_lib(tmp_path: Path, mark: str) -> None:
    (tmp_path / mark).parent.mkdir(exist_ok=True)
    (tmp_path / mark).touch()

    assert default_data_dir(home=tmp_path / "home", root=tmp_path) == tmp_path / "var/lib/codex-lb"


def test_a_folder_in_the_home_directory_is_kept_even_in_a_container(tmp_path: Path) -> None:
    (tmp_path / ".dockerenv").touch()
    (tmp_path / "home/.codex-lb").mkdir(parents=True)

    assert default_data_dir(home=tmp_path / "home", root=tmp_path) == tmp_path / "home/.codex-lb"
