"""What can be set about control, each with its unit and its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from codex_lb.kit.settings import BehindProxies, Networks, default_data_dir, split

URL = r"^https?://\S+$"
Words = Annotated[tuple[str, ...], NoDecode]


class ControlSettings(BehindProxies):
    """Control's settings; the environment variable of each is CODEX_LB_ and its name in capitals."""

    data_dir: Path = Field(
        default_factory=default_data_dir, description="Folder of the database and the key, unless they are set."
    )

    database_url: SecretStr | None = Field(
        default=None,
        description="sqlite+aiosqlite:///path or postgresql+asyncpg://user:password@host/name; default: store.db in"
        " the data folder. Secret, for it may hold a password.",
    )
    database_migrate_on_startup: bool = Field(
        default=True, description="Bring the schema up to date at start; off: refuse to start when it is behind."
    )
    database_migrations_fail_fast: bool = Field(
        default=True, description="A migration that fails ends the start; off: it is logged, and the start goes on."
    )
    database_sqlite_pre_migrate_backup_enabled: bool = Field(
        default=True, description="Copy a SQLite database before migrating it."
    )
    database_sqlite_pre_migrate_backup_max_files: int = Field(
        default=5, ge=1, description="How many of those copies are kept; older ones are removed."
    )
    database_pool_size: int = Field(default=15, ge=1, le=200, description="Connections kept open to the database.")
    database_max_overflow: int = Field(
        default=10, ge=0, le=200, description="Connections opened beyond the pool when it is busy, and closed again."
    )
    database_pool_timeout_seconds: float = Field(
        default=30.0, gt=0, description="How long a connection is waited for before the database counts as away."
    )

    redis_url: SecretStr | None = Field(
        default=None,
        description="redis://:password@host:6379/0, rediss:// with TLS, or unix:///path; needed as soon as several controls"
        " share a database. Without it, slots and habits are kept in this control's memory.",
    )
    redis_pool: str = Field(
        default="default",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Two installations that share one Redis need different names here.",
    )

    encryption_key_file: Path | None = Field(
        default=None,
        description="File with the key that seals logins; default: encryption.key in the data folder. Without it the"
        " stored logins cannot be opened: keep a copy.",
    )

    auth_base_url: str = Field(default="https://auth.openai.com", pattern=URL, description="The issuer of the tokens.")
    oauth_client_id: str = Field(
        default="app_EMoamEEZ73f0CkXaXp7hrann", min_length=1, description="The client the tokens were issued to."
    )
    oauth_scope: str = Field(
        default="openid profile email",
        min_length=1,
        description="What a sign-in asks for; offline_access is added, for without it a login ends within days.",
    )
    oauth_timeout_seconds: float = Field(
        default=30.0, gt=0, le=300, description="How long the issuer may take to answer during a sign-in."
    )
    oauth_redirect_uri: str = Field(
        default="http://localhost:1455/auth/callback",
        pattern=URL,
        description="Where the issuer sends browsers; it takes no other address than it has registered for the client.",
    )
    oauth_callback_host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address that browsers come back to, while a sign-in waits; 0.0.0.0 inside a container.",
    )
    oauth_callback_port: int = Field(
        default=1455, ge=1, le=65535, description="Its port; the redirect address names the same one."
    )

    usage_refresh_enabled: bool = Field(default=True, description="Whether the usage of accounts is fetched.")
    usage_refresh_interval_seconds: float = Field(
        default=60.0,
        ge=1,
        le=86_400,
        description="How often each account's usage is fetched; accounts are spread over it.",
    )
    model_registry_enabled: bool = Field(default=True, description="Whether the models of each plan are listed.")
    model_registry_refresh_interval_seconds: float = Field(
        default=300.0, ge=1, le=604_800, description="How often the models of a plan are listed."
    )

    token_refresh_interval_days: float = Field(
        default=8.0, gt=0, le=365, description="How old a login's tokens grow before they are rotated, used or not."
    )
    token_refresh_at_once_max: int = Field(default=4, ge=1, description="How many rotations run at once.")
    token_refresh_gap_seconds: float = Field(default=0.25, ge=0, le=60, description="How far apart rotations start.")

    request_log_retention_days: float = Field(
        default=30.0,
        ge=0,
        le=3650,
        description="How long lines of the request log are kept, sums for reports outlive them; 0: for ever."
        " Conversations can be taken up for 14 days, or as long as this is.",
    )
    prices_file: Path | None = Field(
        default=None,
        description="Own price list in TOML, over the one that ships; without it, published prices count.",
    )

    routing_strategy: Literal[
        "capacity_weighted", "usage_weighted", "round_robin", "fill_first", "sequential_drain"
    ] = Field(
        default="capacity_weighted",
        description="How accounts are chosen. This one and the next four are first values: `codex-lb admin settings`"
        " changes them while the product runs.",
    )
    routing_prefer_earlier_reset: bool = Field(
        default=True, description="Whether accounts whose weekly window resets on an earlier day serve first."
    )
    proxy_account_stream_limit: int = Field(
        default=8, ge=0, le=10_000, description="Turns an account serves at once, in the whole cluster; 0: no limit."
    )
    proxy_account_response_create_limit: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="Turns per account that upstream has not begun to answer, in the whole cluster; 0: no limit.",
    )
    proxy_unauthenticated_client_cidrs: Networks = Field(
        default=(), description="Clients that pass without an API key while keys are off, besides local ones."
    )
    upstream_stream_transport: Literal["auto", "http", "websocket"] = Field(
        default="auto", description="How gateways stream from upstream; auto follows the model and the client."
    )

    control_listen: Words = Field(
        default=("127.0.0.1:2456",),
        min_length=1,
        description="Where gRPC listens, separated by commas: host:port or unix:/path/to.sock.",
    )
    control_http_listen: str = Field(
        default="127.0.0.1:2457",
        pattern=r"^\S+:\d+$",
        description="Where control's HTTP listens when it runs on its own: host:port.",
    )
    dashboard_bootstrap_token: SecretStr | None = Field(
        default=None,
        min_length=8,
        max_length=512,
        description="What the first visitor from another machine signs in with, once; without it, a token is made and shown"
        " as a link at the start.",
    )
    dashboard_url: str | None = Field(
        default=None,
        pattern=URL,
        description="Address of control's pages as browsers see it, such as https://pool.example.com; for sign-in links, and"
        " to know its own pages by. Default: where it listens.",
    )
    dashboard_local_access: bool = Field(
        default=True,
        description="Whether programs and browsers on this machine need not sign in. Off where other people have accounts"
        " on it, or a proxy on it that passes no headers on.",
    )
    control_tls_cert_file: Path | None = Field(
        default=None, description="PEM certificate of gRPC over TCP; without it the connection is plain."
    )
    control_tls_key_file: Path | None = Field(default=None, description="PEM key of that certificate.")
    service_token: SecretStr | None = Field(
        default=None,
        description="What services and automation show over TCP; needed as soon as other machines can connect.",
    )

    metrics_enabled: bool = Field(default=False, description="Whether metrics are served when control runs on its own.")
    metrics_host: str = Field(default="127.0.0.1", description="Address the metrics listen on.")
    metrics_port: int = Field(default=9090, ge=0, le=65535, description="Port the metrics listen on.")

    @property
    def database(self) -> str:
        """The database's URL."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite+aiosqlite:///{self.data_dir.expanduser() / 'store.db'}"

    @property
    def key_file(self) -> Path:
        """The file with the encryption key."""
        return (self.encryption_key_file or self.data_dir / "encryption.key").expanduser()

    @property
    def http_address(self) -> tuple[str, int]:
        """Where control's HTTP listens."""
        host, _, port = self.control_http_listen.rpartition(":")
        return host.removeprefix("[").removesuffix("]"), int(port)

    @field_validator("control_listen", "proxy_unauthenticated_client_cidrs", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return split(value)

    @model_validator(mode="after")
    def _has_whole_tls(self) -> Self:
        if (self.control_tls_cert_file is None) != (self.control_tls_key_file is None):
            raise ValueError("CODEX_LB_CONTROL_TLS_CERT_FILE and CODEX_LB_CONTROL_TLS_KEY_FILE belong together")
        return self
