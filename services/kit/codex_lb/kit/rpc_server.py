"""A gRPC server as every service of ours runs it: guarded, with failures translated, and with a bounded end."""

from __future__ import annotations

import hmac
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import grpc
import structlog
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection as grpc_reflection
from grpc_status import rpc_status

from codex_lb.api.errors.v1.reasons_pb2 import ErrorReason
from codex_lb.kit.ids import new_id
from codex_lb.kit.rpc_errors import RpcFailure, to_status
from codex_lb.kit.settings import ConfigurationError
from codex_lb.kit.sockets import bind_tcp, clear_unix_path, files_for_our_user_only, is_loopback

STOP_WITHIN_S = 5.0  # for calls that run; long-lived streams are ended by their handlers before
MESSAGE_BYTES_MAX = 16 * 2**20  # a policy snapshot of a hundred thousand keys
METADATA_BYTES_MAX = 64 * 2**10  # trailers carry the failure; gRPC's own bound of 8 KiB would swallow long ones
KEEPALIVE_S = 20.0  # shorter than the idle timeout of any usual middlebox
KEEPALIVE_TIMEOUT_S = 10.0
PINGS_APART_AT_LEAST_S = 5.0  # what clients may do without being thrown out; ours ping every 10 s
OPEN_TO_ALL = frozenset({"/grpc.health.v1.Health/Check"})  # a kubelet's probe cannot send a token
UNIX = "unix:"

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.keepalive_time_ms", int(KEEPALIVE_S * 1000)),
    ("grpc.keepalive_timeout_ms", int(KEEPALIVE_TIMEOUT_S * 1000)),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", int(PINGS_APART_AT_LEAST_S * 1000)),
    ("grpc.so_reuseport", 0),  # else two servers share a port silently, and each sees half of the calls
)

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Register: TypeAlias = Callable[[grpc.aio.Server], None]
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Behaviour: TypeAlias = Callable[[Any, Context], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a server."""

    cert_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True)
class RpcServer:
    """A running server: what clients dial, in the order it was asked to listen, and the ports of the TCP ones."""

    targets: tuple[str, ...]
    ports: tuple[int, ...]


@asynccontextmanager
async def open_rpc_server(
    services: Iterable[Register],
    listen: Sequence[str],
    *,
    tls: TlsFiles | None,
    service_token: str | None,
    health: bool = True,
    reflection: bool = False,
    stop_within_s: float = STOP_WITHIN_S,
) -> AsyncIterator[RpcServer]:
    """Serves inside the `with`; leaving it refuses new calls at once and gives running ones `stop_within_s` seconds.

    `services` are calls like `partial(add_LeaseServiceServicer_to_server, servicer)`. `listen` names unix sockets
    (`unix:/run/control.sock`, only for our own user) and TCP addresses (`127.0.0.1:2456`, port 0 lets the system
    choose). TCP is guarded by the service token. Raises ConfigurationError when a TCP address other machines can
    reach would be unguarded, and PortTakenError.
    """
    _require_guard(listen, service_token)
    server = _NamingServer(grpc.aio.server(interceptors=[_Translation(), _TokenCheck(service_token)], options=OPTIONS))
    for register in services:
        register(server)
    health_status = _add_health(server) if health else None
    if reflection:
        grpc_reflection.enable_server_reflection((*server.names, grpc_reflection.SERVICE_NAME), server)
    targets = tuple(_listen_on(server, target, tls) for target in listen)
    await server.start()
    try:
        yield RpcServer(targets, tuple(int(t.rpartition(":")[2]) for t in targets if not t.startswith(UNIX)))
    finally:
        with anyio.CancelScope(shield=True):  # bounded by the grace; a hang-up must not cut running calls
            if health_status is not None:
                await health_status.enter_graceful_shutdown()
            await server.stop(stop_within_s)


def _require_guard(listen: Sequence[str], service_token: str | None) -> None:
    """Raises ConfigurationError for an address that anybody could use."""
    for target in listen:
        if not (service_token or target.startswith(UNIX) or is_loopback(_host_and_port(target)[0])):
            raise ConfigurationError(
                f"{target} can be reached from other machines, but there is no service token. "
                "Set CODEX_LB_SERVICE_TOKEN, or listen on 127.0.0.1 or on a unix socket."
            )


def _listen_on(server: grpc.aio.Server, target: str, tls: TlsFiles | None) -> str:
    """Takes the address; returns it as clients dial it."""
    if target.startswith(UNIX):
        clear_unix_path(Path(target.removeprefix(UNIX)))
        with files_for_our_user_only():
            server.add_insecure_port(target)
        return target
    host, port = _host_and_port(target)
    try:
        if tls is None:
            bound = server.add_insecure_port(target)
        else:
            pair = (tls.key_file.read_bytes(), tls.cert_file.read_bytes())
            bound = server.add_secure_port(target, grpc.ssl_server_credentials([pair]))
    except RuntimeError:
        bind_tcp(host, port).close()  # gRPC does not say why it failed; this raises with the reason
        raise
    return f"{target.rpartition(':')[0]}:{bound}"


def _host_and_port(target: str) -> tuple[str, int]:
    host, _, port = target.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigurationError(f"{target} is not an address to listen on. Write host:port or unix:/path/to.sock.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _add_health(server: grpc.aio.Server) -> grpc_health.aio.HealthServicer:
    servicer = grpc_health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return servicer


class _TokenCheck(grpc.aio.ServerInterceptor):
    """Calls over TCP must carry the service token; a unix socket is guarded by the mode of its file."""

    def __init__(self, service_token: str | None) -> None:
        self._expected = f"Bearer {service_token}".encode() if service_token else None

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        if self._expected is None or handler_call_details.method in OPEN_TO_ALL:
            return handler
        return _around(handler, self._checked)

    def _checked(self, behaviour: Behaviour) -> Behaviour:
        async def checked(request: Any, context: Context) -> Any:
            if not (context.peer().startswith(UNIX) or self._carries_token(context)):
                raise RpcFailure(
                    ErrorReason.ERROR_REASON_SERVICE_TOKEN_INVALID, "the service token is missing or is not ours"
                )
            return await behaviour(request, context)

        return checked

    def _carries_token(self, context: Context) -> bool:
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        given_bytes = given if isinstance(given, bytes) else given.encode()
        return self._expected is not None and hmac.compare_digest(given_bytes, self._expected)


class _Translation(grpc.aio.ServerInterceptor):
    """Turns what handlers raise into google.rpc.Status; what nobody foresaw is logged once, here."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = handler_call_details.method
        return _around(await continuation(handler_call_details), lambda behaviour: _translated(behaviour, method))


def _translated(behaviour: Behaviour, method: str) -> Behaviour:
    async def translated(request: Any, context: Context) -> Any:
        try:
            return await behaviour(request, context)
        except grpc.aio.AbortError:
            raise  # the handler chose its own status
        except RpcFailure as failure:
            await context.abort_with_status(rpc_status.to_status(to_status(failure)))
        except Exception as error:
            if context.cancelled():
                raise  # nobody is left to tell; writing to a client that hung up ends here
            await context.abort_with_status(rpc_status.to_status(to_status(unforeseen(error, method))))

    return translated


def unforeseen(error: Exception, method: str) -> RpcFailure:
    """Logs the error, once; the caller learns an id to look for, nothing about our insides."""
    error_id = new_id("err")
    log.error("rpc failed", method=method, error_id=error_id, exc_info=error)
    return RpcFailure(
        ErrorReason.ERROR_REASON_INTERNAL,
        f"something went wrong; the log says more under {error_id}",
        metadata={"error_id": error_id},
    )


def _around(
    handler: grpc.RpcMethodHandler[Any, Any] | None, wrap: Callable[[Behaviour], Behaviour]
) -> grpc.RpcMethodHandler[Any, Any] | None:
    """The handler with its behaviour wrapped, whichever of the four kinds it is; None stays None (no such method)."""
    if handler is None:
        return None
    rebuild, behaviour = {
        (False, False): (grpc.unary_unary_rpc_method_handler, handler.unary_unary),
        (False, True): (grpc.unary_stream_rpc_method_handler, handler.unary_stream),
        (True, False): (grpc.stream_unary_rpc_method_handler, handler.stream_unary),
        (True, True): (grpc.stream_stream_rpc_method_handler, handler.stream_stream),
    }[handler.request_streaming, handler.response_streaming]
    return rebuild(wrap(_as_coroutine(behaviour)), handler.request_deserializer, handler.response_serializer)


def _as_coroutine(behaviour: Any) -> Behaviour:
    """The behaviour in one form: a coroutine that writes its responses, where it was a generator that yields them."""
    if not inspect.isasyncgenfunction(behaviour):
        coroutine: Behaviour = behaviour
        return coroutine

    async def write_all(request: Any, context: Context) -> None:
        async with aclosing(behaviour(request, context)) as responses:  # a hang-up must run the generator's clean-up
            async for response in responses:
                await context.write(response)

    return write_all


class _NamingServer(grpc.aio.Server):
    """A server that remembers the names of its services, for reflection; gRPC's own does not tell them."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self.names: list[str] = []
        self._server = server

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        handlers = tuple(generic_rpc_handlers)
        self.names += [h.service_name() for h in handlers if isinstance(h, grpc.ServiceRpcHandler)]
        self._server.add_generic_rpc_handlers(handlers)

    def add_insecure_port(self, address: str) -> int:
        return self._server.add_insecure_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        return self._server.add_secure_port(address, server_credentials)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        await self._server.stop(grace)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - gRPC's signature
        return await self._server.wait_for_termination(timeout)
