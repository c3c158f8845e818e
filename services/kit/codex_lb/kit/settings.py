"""Settings of a service: read once from the environment, checked, frozen; what is wrong is said in words."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Self, TypeAlias, TypeVar, get_args

from pydantic import Field, SecretBytes, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

ENV_PREFIX = "CODEX_LB_"
CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")  # left by Docker and by Podman
VALUE_CHARS_MAX = 80  # enough to recognise a wrong value, too short to fill a screen


Network: TypeAlias = IPv4Network | IPv6Network
Networks: TypeAlias = Annotated[tuple[Network, ...], NoDecode]


class ConfigurationError(Exception):
    """The product cannot start as it is configured. The text tells a person what to change."""


class ServiceSettings(BaseSettings):
    """What all settings share: the environment outranks `.env.local`, which outranks `.env` (working directory)."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=(".env", ".env.local"),  # the later file wins
        env_file_encoding="utf-8",
        env_ignore_empty=True,  # CODEX_LB_X= in a compose file means: not set
        extra="ignore",  # one .env serves all services
        frozen=True,
        hide_input_in_errors=True,
    )


class BehindProxies(ServiceSettings):
    """Whose word a service takes for who calls; part of the settings of every service that asks."""

    firewall_trust_proxy_headers: bool = Field(
        False, description="Believe X-Forwarded-For and its kin from the trusted proxies."
    )
    firewall_trusted_proxy_cidrs: Networks = Field(
        (IPv4Network("127.0.0.1/32"), IPv6Network("::1/128")), description="Proxies that are believed."
    )

    @field_validator("firewall_trusted_proxy_cidrs", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        return split(value)

    @model_validator(mode="after")
    def _trust_has_somebody(self) -> Self:
        if self.firewall_trust_proxy_headers and not self.firewall_trusted_proxy_cidrs:
            raise ValueError("CODEX_LB_FIREWALL_TRUST_PROXY_HEADERS needs CODEX_LB_FIREWALL_TRUSTED_PROXY_CIDRS")
        return self


Settings = TypeVar("Settings", bound=ServiceSettings)


def load(settings_class: type[Settings]) -> Settings:
    """Reads the settings. Raises ConfigurationError naming every variable that is wrong, never a secret's value."""
    try:
        return settings_class()
    except ValidationError as error:
        problems = [_problem(settings_class, details) for details in error.errors(include_url=False)]
    except SettingsError as error:
        problems = [_unreadable(settings_class, error)]
    raise ConfigurationError("The settings cannot be used:\n" + "\n".join(f"  {line}" for line in problems))


def split(value: object) -> object:
    """A list as people write it in the environment, with commas; for validators."""
    return tuple(v.strip() for v in value.split(",") if v.strip()) if isinstance(value, str) else value


def default_data_dir(*, home: Path | None = None, root: Path = Path("/")) -> Path:
    """Where data lives unless told otherwise: `~/.codex-lb`; in a container without one, `/var/lib/codex-lb`."""
    in_home = (home or Path.home()) / ".codex-lb"
    in_container = any((root / mark.lstrip("/")).exists() for mark in CONTAINER_MARKS)
    return root / "var/lib/codex-lb" if in_container and not in_home.exists() else in_home


def env_name(field: str) -> str:
    """The environment variable of a field."""
    return ENV_PREFIX + field.upper()


def _problem(settings_class: type[ServiceSettings], details: ErrorDetails) -> str:
    """One line for one validation error."""
    message = details["msg"].removeprefix("Value error, ")
    if not details["loc"]:
        return message  # a rule over several fields; its input is all of them, secrets included
    field, *inside = (str(part) for part in details["loc"])
    name = env_name(field) + "".join(f".{part}" for part in inside)
    if details["type"] == "missing":
        description = settings_class.model_fields[field].description if field in settings_class.model_fields else None
        return f"{name} is not set, but needed" + (f": {description}" if description else "")
    given = str(details["input"])
    if _is_secret(settings_class, field):
        return f"{name}: {message.replace(given, '***') if given else message}"
    return f"{name} is {given[:VALUE_CHARS_MAX]!r}: {message}"


def _unreadable(settings_class: type[ServiceSettings], error: SettingsError) -> str:
    """One line for a list or mapping that is not JSON; pydantic names the field only inside its sentence."""
    field = next((name for name in settings_class.model_fields if f'"{name}"' in str(error)), None)
    return f'{env_name(field)} is not valid JSON (a list is written ["a", "b"])' if field else str(error)


def _is_secret(settings_class: type[ServiceSettings], field: str) -> bool:
    """Whether the value must not be shown; what we do not know is taken for a secret."""
    if field not in settings_class.model_fields:
        return True
    annotation = settings_class.model_fields[field].annotation
    return any(part in (SecretStr, SecretBytes) for part in (annotation, *get_args(annotation)))
