"""What can be set about a process of the product, besides what each service has of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator

from codex_lb.kit.settings import ServiceSettings, default_data_dir


class ProcessSettings(ServiceSettings):
    """Settings of every command that runs until it is stopped."""

    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="Folder of the database, the key and the socket that `codex-lb admin` uses.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="How log lines look: text for people, json for machines."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least important lines that are written."
    )


class AllInOneSettings(ProcessSettings):
    """Settings of `codex-lb serve`. HOST and PORT, as container platforms set them, count where ours are not set."""

    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address clients connect to; 0.0.0.0 for all of this machine's."
    )
    port: int = Field(default=2455, ge=0, le=65535, description="Port clients connect to.")
    gateways: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Gateways on that port: one in the program's own process, or several, each in one of its own.",
    )

    @model_validator(mode="before")
    @classmethod
    def _also_unprefixed(cls, given: dict[str, object]) -> dict[str, object]:
        return {name: value for name in ("host", "port") if (value := os.environ.get(name.upper()))} | given


class AdminSettings(ServiceSettings):
    """Where `codex-lb admin` finds control, unless its options say so."""

    data_dir: Path = Field(default_factory=default_data_dir, description="Data folder of a control on this machine.")
    server: str | None = Field(default=None, description="Address of a control elsewhere: host:port.")
    service_token: SecretStr | None = Field(default=None, description="What control there wants to be shown.")
    control_tls_ca_file: Path | None = Field(
        default=None, description="Authority that signed control's certificate; without it the connection is plain."
    )
