"""A channel to another service of ours, for as long as the `with` lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from codex_lb.kit.rpc_server import MESSAGE_BYTES_MAX, METADATA_BYTES_MAX

UNARY_WITHIN_S = 5.0  # for calls that name no deadline; a healthy service answers in milliseconds
KEEPALIVE_S = 10.0  # a dead peer is noticed within a lease's lifetime
KEEPALIVE_TIMEOUT_S = 5.0
RECONNECT_AFTER_S_MAX = 1.0  # turns wait for control while it restarts

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.keepalive_time_ms", int(KEEPALIVE_S * 1000)),
    ("grpc.keepalive_timeout_ms", int(KEEPALIVE_TIMEOUT_S * 1000)),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),  # no bound: a stream may be silent for hours
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", int(RECONNECT_AFTER_S_MAX * 1000)),
    ("grpc.max_reconnect_backoff_ms", int(RECONNECT_AFTER_S_MAX * 1000)),
    ("grpc.use_local_subchannel_pool", 1),  # channels share no connection, so one's backoff is not the other's
    ("grpc.enable_http_proxy", 0),  # https_proxy is meant for upstream, not for our own services
)


@asynccontextmanager
async def open_channel(
    target: str, *, tls_ca_file: Path | None, service_token: str | None
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to `target` (`unix:/path` or `host:port`); it connects on first use and reconnects by itself.

    `tls_ca_file` holds the authority that signed the server's certificate; without it the channel is plain, and a
    unix socket always is. Unary calls that name no timeout get UNARY_WITHIN_S; streams have none.
    """
    async with _Channel(_bare_channel(target, tls_ca_file), service_token) as channel:
        yield channel


def _bare_channel(target: str, tls_ca_file: Path | None) -> grpc.aio.Channel:
    if tls_ca_file is None or target.startswith("unix:"):
        return grpc.aio.insecure_channel(target, OPTIONS)
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(tls_ca_file.read_bytes()), OPTIONS)


class _Channel(grpc.aio.Channel):
    """Adds to each call what every call of ours carries: the service token, and a deadline if it is unary.

    Not by gRPC's client interceptors: those put a task and a queue around every stream, which costs on each message,
    and a cancelled stream leaves a generator behind that cannot be closed.
    """

    def __init__(self, channel: grpc.aio.Channel, service_token: str | None) -> None:
        self._channel = channel
        self._token = (("authorization", f"Bearer {service_token}"),) if service_token else ()

    def unary_unary(self, *args: Any, **options: Any) -> Any:
        return self._completed(self._channel.unary_unary(*args, **options), timeout_s=UNARY_WITHIN_S)

    def unary_stream(self, *args: Any, **options: Any) -> Any:
        return self._completed(self._channel.unary_stream(*args, **options))

    def stream_unary(self, *args: Any, **options: Any) -> Any:
        return self._completed(self._channel.stream_unary(*args, **options))

    def stream_stream(self, *args: Any, **options: Any) -> Any:
        return self._completed(self._channel.stream_stream(*args, **options))

    def _completed(self, call: Callable[..., Any], *, timeout_s: float | None = None) -> Callable[..., Any]:
        def completed(
            *args: Any,
            timeout: float | None = None,
            metadata: Iterable[tuple[str, str | bytes]] | None = None,
            **options: Any,
        ) -> Any:
            timeout = timeout_s if timeout is None else timeout
            return call(*args, timeout=timeout, metadata=(*(metadata or ()), *self._token), **options)

        return completed

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._channel.__aexit__(kind, error, trace)
