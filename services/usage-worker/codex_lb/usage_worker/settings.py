"""What can be set about the usage-worker, each with its unit and its reason."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from codex_lb.kit.settings import ServiceSettings

URL = r"^https?://\S+$"


class WorkerSettings(ServiceSettings):
    """The usage-worker's settings; the environment variable of each is CODEX_LB_ and its name in capitals."""

    control_target: str = Field(
        default="127.0.0.1:2456",
        min_length=1,
        description="Where control's gRPC listens: host:port or unix:/path/to.sock.",
    )
    control_tls_ca_file: Path | None = Field(
        default=None, description="Authority that signed control's certificate; without it the connection is plain."
    )
    service_token: SecretStr | None = Field(
        default=None, description="What services show one another; not needed over a unix socket."
    )

    worker_http_listen: str = Field(
        default="127.0.0.1:2458",
        pattern=r"^\S+:\d+$",
        description="Where health probes are answered when the usage-worker runs on its own: host:port.",
    )

    upstream_base_url: str = Field(
        default="https://chatgpt.com/backend-api", pattern=URL, description="Upstream, without a /codex suffix."
    )
    usage_refresh_enabled: bool = Field(default=True, description="Whether this worker fetches usage.")
    usage_fetch_timeout_seconds: float = Field(default=10.0, gt=0, le=30, description="How long one try may take.")
    usage_fetch_max_retries: int = Field(
        default=2, ge=0, le=5, description="Further tries after one that may be repeated."
    )

    model_registry_enabled: bool = Field(default=True, description="Whether this worker lists models.")
    model_registry_client_version: str = Field(
        default="0.144.0",
        pattern=r"^\d+\.\d+\.\d+$",
        description="The Codex version models are listed for; upstream hides newer models from older versions.",
    )

    auth_base_url: str = Field(default="https://auth.openai.com", pattern=URL, description="The issuer of the tokens.")
    oauth_client_id: str = Field(
        default="app_EMoamEEZ73f0CkXaXp7hrann", min_length=1, description="The client the tokens were issued to."
    )
    token_refresh_timeout_seconds: float = Field(
        default=30.0,
        gt=0,
        le=45,  # a ticket lives 60 s, and the new pair has to be reported within it
        description="How long a rotation may take; generous, because a rotation is never repeated.",
    )

    @property
    def http_address(self) -> tuple[str, int]:
        """Where health probes are answered."""
        host, _, port = self.worker_http_listen.rpartition(":")
        return host.removeprefix("[").removesuffix("]"), int(port)
