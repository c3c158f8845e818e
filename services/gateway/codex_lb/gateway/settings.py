"""Everything about a gateway that can be configured, each with its unit and its reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from codex_lb.kit.settings import BehindProxies, default_data_dir, split

MIB = 2**20
Names = Annotated[tuple[str, ...], NoDecode]
HOST_AND_PORT = re.compile(r"[a-z0-9._-]+(:\d{1,5})?")


class GatewaySettings(BehindProxies):
    """Settings of the data plane."""

    host: str = Field("127.0.0.1", description="Address the gateway listens on when it runs on its own.")
    port: int = Field(2455, ge=0, le=65535, description="Port the gateway listens on when it runs on its own.")
    data_dir: Path = Field(
        default_factory=default_data_dir, description="Where settlements wait on disk while control is away."
    )
    control_target: str = Field(
        "127.0.0.1:2456", description="Where control's gRPC is: host:port, or unix:/path to a socket."
    )
    control_tls_ca_file: Path | None = Field(None, description="CA of control's certificate; unset for plain TCP.")
    service_token: SecretStr | None = Field(None, description="Shared secret between the services, for TCP.")

    upstream_base_url: str = Field(
        "https://chatgpt.com/backend-api", description="Base URL of the ChatGPT backend, without /codex."
    )
    upstream_connect_timeout_seconds: float = Field(
        8.0, gt=0, le=120, description="Seconds to reach upstream; more only delays the move to another account."
    )
    stream_idle_timeout_seconds: float = Field(
        7200.0, gt=0, description="Seconds upstream may be silent. Models think for long: 300 s cuts good answers."
    )
    proxy_request_budget_seconds: float = Field(7200.0, gt=0, description="Seconds one turn may take in all.")
    sse_keepalive_interval_seconds: float = Field(
        10.0, gt=0, le=60, description="Seconds of silence after which a client is told that the turn lives."
    )
    lease_wait_seconds: float = Field(
        8.0,
        ge=0,
        le=300,
        description="Seconds a turn waits for a free slot before it is refused. Below the keep-alive interval, so that "
        "the refusal still has a status of its own (429) that clients obey.",
    )
    shutdown_drain_timeout_seconds: float = Field(
        1800.0, ge=0, description="Seconds running turns get to finish when the gateway stops; turns take minutes."
    )

    model_context_window_overrides: dict[str, Annotated[int, Field(gt=0)]] = Field(
        default_factory=dict,
        description='Context windows to tell clients, as JSON: {"gpt-5.5": 400000}. At most what upstream allows.',
    )
    images_default_model: Literal["gpt-image-2", "gpt-image-1.5", "gpt-image-1", "gpt-image-1-mini"] = Field(
        "gpt-image-2", description="Image model of requests that name none."
    )

    max_decompressed_body_bytes: int = Field(32 * MIB, gt=0, description="Bytes of a request body, unpacked.")
    max_decompressed_responses_body_bytes: int = Field(
        128 * MIB, gt=0, description="The same on the Responses routes, where inlined images are common."
    )
    max_sse_event_bytes: int = Field(
        16 * MIB, gt=0, description="Bytes of one upstream event. Inlined images exceed 2 MiB."
    )

    image_inline_fetch_enabled: bool = Field(
        True, description="Fetch the images that requests name by https URL, and send upstream the images themselves."
    )
    image_inline_allowed_hosts: Names = Field(
        (),
        description="Hosts that images are fetched from, as host or host:port, separated by commas; empty for every "
        "public one. Hosts with addresses that are not public are never fetched from.",
    )

    metrics_enabled: bool = Field(False, description="Serve Prometheus metrics on metrics_port.")
    metrics_port: int = Field(9090, ge=0, le=65535, description="Port of the metrics.")

    @field_validator("image_inline_allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return split(value)

    @field_validator("image_inline_allowed_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        hosts = tuple(host.lower() for host in value)
        if wrong := [host for host in hosts if not HOST_AND_PORT.fullmatch(host)]:
            raise ValueError(f"must be host or host:port, not {', '.join(wrong)}")
        return hosts

    @field_validator("upstream_base_url")
    @classmethod
    def _without_slash(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with https:// (or http:// for a test)")
        return value.rstrip("/").removesuffix("/codex")
