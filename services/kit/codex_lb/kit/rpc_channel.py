"""A channel to another service of ours, for as long as the `with` lasts."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar

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

Request = TypeVar("Request")
Response = TypeVar("Response")
Requests: TypeAlias = AsyncIterable[Request] | Iterable[Request]


@asynccontextmanager
async def open_channel(
    target: str, *, tls_ca_file: Path | None, service_token: str | None
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to `target` (`unix:/path` or `host:port`); it connects on first use and reconnects by itself.

    `tls_ca_file` holds the authority that signed the server's certificate; without it the channel is plain, and a
    unix socket always is.
    """
    async with _channel(target, tls_ca_file, _interceptors(service_token)) as channel:
        yield channel


def _channel(target: str, tls_ca_file: Path | None, interceptors: list[grpc.aio.ClientInterceptor]) -> grpc.aio.Channel:
    if tls_ca_file is None or target.startswith("unix:"):
        return grpc.aio.insecure_channel(target, OPTIONS, interceptors=interceptors)
    credentials = grpc.ssl_channel_credentials(tls_ca_file.read_bytes())
    return grpc.aio.secure_channel(target, credentials, OPTIONS, interceptors=interceptors)


def _interceptors(service_token: str | None) -> list[grpc.aio.ClientInterceptor]:
    """Streams are intercepted only where a token makes it necessary: interception costs something per message."""
    of_calls: list[grpc.aio.ClientInterceptor] = [_UnaryUnary(service_token)]
    of_streams: list[grpc.aio.ClientInterceptor] = [
        _UnaryStream(service_token),
        _StreamUnary(service_token),
        _StreamStream(service_token),
    ]
    return of_calls + of_streams if service_token else of_calls


class _Completed:
    """Adds to a call what every call of ours carries."""

    def __init__(self, service_token: str | None) -> None:
        self._authorization = f"Bearer {service_token}" if service_token else None

    def completed(
        self, call: grpc.aio.ClientCallDetails, default_timeout_s: float | None = None
    ) -> grpc.aio.ClientCallDetails:
        metadata = grpc.aio.Metadata(*(call.metadata or ()))
        if self._authorization:
            metadata["authorization"] = self._authorization
        timeout_s = default_timeout_s if call.timeout is None else call.timeout
        return grpc.aio.ClientCallDetails(call.method, timeout_s, metadata, call.credentials, call.wait_for_ready)


class _UnaryUnary(_Completed, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self,
        continuation: Callable[
            [grpc.aio.ClientCallDetails, Request], Awaitable[grpc.aio.UnaryUnaryCall[Request, Response]]
        ],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Request,
    ) -> grpc.aio.UnaryUnaryCall[Request, Response]:
        return await continuation(self.completed(client_call_details, UNARY_WITHIN_S), request)


class _UnaryStream(_Completed, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self,
        continuation: Callable[
            [grpc.aio.ClientCallDetails, Request], Awaitable[grpc.aio.UnaryStreamCall[Request, Response]]
        ],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Request,
    ) -> grpc.aio.UnaryStreamCall[Request, Response]:
        return await continuation(self.completed(client_call_details), request)


class _StreamUnary(_Completed, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self,
        continuation: Callable[
            [grpc.aio.ClientCallDetails, Requests[Request]], Awaitable[grpc.aio.StreamUnaryCall[Request, Response]]
        ],
        client_call_details: grpc.aio.ClientCallDetails,
        request_iterator: Requests[Request],
    ) -> grpc.aio.StreamUnaryCall[Request, Response]:
        return await continuation(self.completed(client_call_details), request_iterator)


class _StreamStream(_Completed, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self,
        continuation: Callable[
            [grpc.aio.ClientCallDetails, Requests[Request]], Awaitable[grpc.aio.StreamStreamCall[Request, Response]]
        ],
        client_call_details: grpc.aio.ClientCallDetails,
        request_iterator: Requests[Request],
    ) -> grpc.aio.StreamStreamCall[Request, Response]:
        return await continuation(self.completed(client_call_details), request_iterator)
