"""What happened, as the control API tells it: values only, shared with the Python client."""

from typing import Any, Literal

import msgspec

Kind = Literal[
    "responses", "warmup", "handshake", "models", "usage", "token", "authorize", "device", "compact", "transcribe",
    "files", "codex_control", "unknown",
]  # fmt: skip
Ended = Literal["complete", "refused", "cut", "client_gone"]
JsonObject = dict[str, Any]  # tests look into bodies; nobody else does


class Row(msgspec.Struct, kw_only=True):
    """One request, or one turn on a WebSocket. Instants are CLOCK_MONOTONIC seconds, the same in every process."""

    seq: int
    kind: Kind
    transport: Literal["http", "websocket"]
    connection: str
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: Any
    body_bytes: int
    account: str | None
    step: str | None
    received_at: float
    first_byte_at: float | None
    ended_at: float | None
    client_gone_at: float | None
    status: int | None
    ended: Ended | None
    response_id: str | None
    answer: bytes

    def header(self, name: str) -> str | None:
        """The value of a request header, however it is spelled."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def is_open(self) -> bool:
        """Whether the answer is still on its way."""
        return self.ended is None


class Violation(msgspec.Struct, kw_only=True):
    """Something a proxy must never do."""

    seq: int  # the row it belongs to
    kind: Literal[
        "leaked_header", "account_mismatch", "foreign_ciphertext", "foreign_turn_state", "refused_body",
        "refresh_token_reused",
    ]  # fmt: skip
    account: str | None
    detail: str


class Tally(msgspec.Struct, kw_only=True):
    """Counters of one account, or of all."""

    turns: int = 0
    completed: int = 0
    refused: int = 0
    client_gone: int = 0
    open: int = 0
    open_peak: int = 0
    held: int = 0
    exchanges: int = 0
    exchanges_refused: int = 0
    usage_reads: int = 0
    model_reads: int = 0
    warmups: int = 0
    sockets: int = 0
    sockets_open: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


class Counters(msgspec.Struct, kw_only=True):
    """All counters at one instant; the version rises with every change."""

    version: int
    total: Tally
    accounts: dict[str, Tally]
    violations: int
    rows_dropped: int


class Window(msgspec.Struct, kw_only=True):
    """One accounting period of an account."""

    used_percent: float = 0.0
    window_minutes: int = 300
    resets_in_s: float = 3600.0
    quota_tokens: int | None = None  # with it, usage rises with the tokens of every answer


class Credits(msgspec.Struct, kw_only=True):
    """What an account may spend beyond its windows."""

    has_credits: bool = False
    unlimited: bool = False
    balance: str | None = None


class Echo(msgspec.Struct, kw_only=True):
    """What a small Codex endpoint was asked; the body's bytes are Latin-1."""

    account: str
    method: str
    target: str
    content_type: str | None
    accept: str | None
    body: str


class Login(msgspec.Struct, kw_only=True):
    """An account and a fresh login to it."""

    name: str
    account_id: str
    user_id: str
    email: str
    plan: str
    id_token: str
    access_token: str
    refresh_token: str
    auth_json: JsonObject
