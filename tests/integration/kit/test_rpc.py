"""A real gRPC server and real channels: guard, failures, streams, the end."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from codex_lb.api.errors.v1.reasons_pb2 import ErrorReason
from codex_lb.kit.rpc_channel import open_channel
from codex_lb.kit.rpc_errors import STATUS_CODES, RpcFailure, from_rpc_error
from codex_lb.kit.rpc_server import TlsFiles, open_rpc_server
from codex_lb.kit.settings import ConfigurationError
from codex_lb.kit.sockets import PortTakenError

WITHIN_S = 5.0
Context: TypeAlias = "grpc.aio.ServicerContext[StringValue, StringValue]"
Say: TypeAlias = Callable[[StringValue, Context], Awaitable[StringValue]]


class Parrot:
    """A service of the tests: says what it hears, or fails as it is told."""

    def __init__(self, say: Say | None = None) -> None:
        self.hears = asyncio.Event()
        self.left_alone = asyncio.Event()
        self.say = say or self.say_or_fail

    async def say_or_fail(self, request: StringValue, _context: Context) -> StringValue:
        if request.value == "a defect":
            raise ZeroDivisionError("sk-clb-secret of the insides")
        if request.value in ErrorReason.keys():  # noqa: SIM118 - an enum, no mapping
            raise RpcFailure(ErrorReason.Value(request.value), "as told", metadata={"window": "day"}, retry_after_s=1.5)
        return StringValue(value=request.value)

    async def repeat(self, requests: AsyncIterator[StringValue], context: Context) -> AsyncIterator[StringValue]:
        self.hears.set()
        try:
            async for request in requests:
                yield await self.say(request, context)
        finally:
            self.left_alone.set()

    async def wait(self, request: StringValue, _context: Context) -> StringValue:
        self.hears.set()
        await anyio.sleep_forever()
        return request

    def register(self, server: grpc.aio.Server) -> None:
        def of(kind: Callable[..., Any], behaviour: Any) -> Any:
            return kind(behaviour, StringValue.FromString, StringValue.SerializeToString)

        methods = {
            "Say": of(grpc.unary_unary_rpc_method_handler, self.say),
            "Repeat": of(grpc.stream_stream_rpc_method_handler, self.repeat),
            "Wait": of(grpc.unary_unary_rpc_method_handler, self.wait),
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tests.Parrot", methods)])


class ParrotStub:
    """What talks to a Parrot."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        form = (StringValue.SerializeToString, StringValue.FromString)
        self.say = channel.unary_unary("/tests.Parrot/Say", *form)
        self.repeat = channel.stream_stream("/tests.Parrot/Repeat", *form)
        self.wait = channel.unary_unary("/tests.Parrot/Wait", *form)


@pytest.fixture
def parrot() -> Parrot:
    return Parrot()


@asynccontextmanager
async def talking_to(
    parrot: Parrot, listen: str, *, server_token: str | None = None, client_token: str | None = None
) -> AsyncIterator[ParrotStub]:
    async with (
        open_rpc_server([parrot.register], [listen], tls=None, service_token=server_token, stop_within_s=0.1) as server,
        open_channel(server.targets[0], tls_ca_file=None, service_token=client_token) as channel,
    ):
        yield ParrotStub(channel)


@pytest.fixture
def unix(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/control.sock"


TCP = "127.0.0.1:0"


async def test_a_call_arrives_over_tcp_and_over_a_unix_socket(parrot: Parrot, unix: str) -> None:
    async with open_rpc_server([parrot.register], [unix, TCP], tls=None, service_token=None) as server:
        answers = []
        for target in server.targets:
            async with open_channel(target, tls_ca_file=None, service_token=None) as channel:
                answers.append((await ParrotStub(channel).say(StringValue(value="hello"))).value)

    assert answers == ["hello", "hello"]
    assert server.targets == (unix, f"127.0.0.1:{server.ports[0]}")


@pytest.mark.parametrize("reason", ErrorReason.values(), ids=ErrorReason.keys())
async def test_a_failure_of_a_call_reaches_the_client_whole(parrot: Parrot, reason: ErrorReason.ValueType) -> None:
    async with talking_to(parrot, TCP) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.say(StringValue(value=ErrorReason.Name(reason)))

    failure = from_rpc_error(raised.value)
    assert raised.value.code() is STATUS_CODES[reason]
    assert (failure.reason, failure.message) == (reason, "as told")
    assert (failure.metadata, failure.retry_after_s) == ({"window": "day"}, 1.5)


async def test_a_failure_in_a_stream_reaches_the_client_whole(parrot: Parrot, unix: str) -> None:
    async with talking_to(parrot, unix) as stub:
        stream = stub.repeat()
        await stream.write(StringValue(value="hello"))
        first = await stream.read()
        await stream.write(StringValue(value="ERROR_REASON_DRAINING"))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stream.read()

    assert first == StringValue(value="hello")
    assert from_rpc_error(raised.value).reason == ErrorReason.ERROR_REASON_DRAINING


async def test_a_long_message_and_much_metadata_arrive() -> None:
    async def explain(request: StringValue, context: Context) -> StringValue:
        raise RpcFailure(ErrorReason.ERROR_REASON_INTERNAL, "ß" * 100_000, metadata={"why": "x" * 20_000})

    async with talking_to(Parrot(explain), TCP) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.say(StringValue())

    failure = from_rpc_error(raised.value)
    assert failure.reason == ErrorReason.ERROR_REASON_INTERNAL
    assert failure.metadata == {"why": "x" * 20_000}


async def test_a_defect_is_logged_once_and_the_client_learns_only_where_to_look(parrot: Parrot) -> None:
    with capture_logs() as logged:
        async with talking_to(parrot, TCP) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.say(StringValue(value="a defect"))

    failure = from_rpc_error(raised.value)
    assert failure.reason == ErrorReason.ERROR_REASON_INTERNAL
    assert "insides" not in failure.message
    assert [line["error_id"] for line in logged] == [failure.metadata["error_id"]]
    assert isinstance(logged[0]["exc_info"], ZeroDivisionError)


async def test_a_call_to_nobody_becomes_a_failure_that_says_so(tmp_path: Path) -> None:
    async with open_channel(f"unix:{tmp_path}/nobody.sock", tls_ca_file=None, service_token=None) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ParrotStub(channel).say(StringValue(value="hello"))

    failure = from_rpc_error(raised.value)
    assert failure.reason == ErrorReason.ERROR_REASON_UNSPECIFIED
    assert failure.metadata == {"grpc_status": "UNAVAILABLE"}


@pytest.mark.parametrize("client_token", [None, "wrong", "clb-tokeN"])
async def test_over_tcp_a_call_without_the_right_token_is_refused(parrot: Parrot, client_token: str | None) -> None:
    async with talking_to(parrot, TCP, server_token="clb-token", client_token=client_token) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.say(StringValue(value="hello"))
        with pytest.raises(grpc.aio.AioRpcError) as stream_refused:
            await stub.repeat().read()

    for error in (refused.value, stream_refused.value):
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert from_rpc_error(error).reason == ErrorReason.ERROR_REASON_SERVICE_TOKEN_INVALID
    assert not parrot.hears.is_set()


async def test_over_tcp_calls_and_streams_with_the_token_pass(parrot: Parrot) -> None:
    async with talking_to(parrot, TCP, server_token="clb-token", client_token="clb-token") as stub:
        answer = await stub.say(StringValue(value="hello"))
        stream = stub.repeat()
        await stream.write(StringValue(value="and again"))
        streamed = await stream.read()
        stream.cancel()

    assert (answer.value, streamed) == ("hello", StringValue(value="and again"))


async def test_over_a_unix_socket_no_token_is_needed_but_the_file_is_ours_alone(parrot: Parrot, unix: str) -> None:
    async with talking_to(parrot, unix, server_token="clb-token") as stub:
        answer = await stub.say(StringValue(value="hello"))
        mode = stat.S_IMODE((await anyio.Path(unix.removeprefix("unix:")).stat()).st_mode)

    assert answer.value == "hello"
    assert mode == 0o600


async def test_over_tls_the_client_must_know_the_authority(parrot: Parrot, own_certificate: TlsFiles) -> None:
    async with open_rpc_server([parrot.register], ["localhost:0"], tls=own_certificate, service_token="t") as server:
        target = server.targets[0]
        async with open_channel(target, tls_ca_file=own_certificate.cert_file, service_token="t") as channel:
            answer = await ParrotStub(channel).say(StringValue(value="hello"))
        async with open_channel(target, tls_ca_file=None, service_token="t") as plain:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ParrotStub(plain).say(StringValue(value="hello"))

    assert answer.value == "hello"
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def own_certificate(tmp_path: Path) -> TlsFiles:
    """A certificate for localhost that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = TlsFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    files.cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    files.key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


async def test_health_may_be_asked_without_the_token(parrot: Parrot) -> None:
    async with (
        open_rpc_server([parrot.register], [TCP], tls=None, service_token="clb-token") as server,
        open_channel(server.targets[0], tls_ca_file=None, service_token=None) as channel,
    ):
        status = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())

    assert status.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_services(parrot: Parrot, unix: str) -> None:
    async with (
        open_rpc_server([parrot.register], [unix], tls=None, service_token=None, reflection=True),
        open_channel(unix, tls_ca_file=None, service_token=None) as channel,
    ):
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        answer = await call.read()
        call.cancel()

    names = {service.name for service in answer.list_services_response.service}
    assert {"tests.Parrot", "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "control.internal:2456"])
async def test_a_public_address_without_a_token_is_not_served(parrot: Parrot, listen: str) -> None:
    with pytest.raises(ConfigurationError, match="Set CODEX_LB_SERVICE_TOKEN"):
        async with open_rpc_server([parrot.register], [listen], tls=None, service_token=None):
            pass


async def test_a_taken_port_is_explained(parrot: Parrot) -> None:
    async with open_rpc_server([parrot.register], [TCP], tls=None, service_token=None) as server:
        with pytest.raises(PortTakenError, match="another program uses the port"):
            async with open_rpc_server([parrot.register], server.targets, tls=None, service_token=None):
                pass


async def test_the_socket_of_a_living_server_is_not_stolen(parrot: Parrot, unix: str) -> None:
    async with open_rpc_server([parrot.register], [unix], tls=None, service_token=None):
        with pytest.raises(PortTakenError, match="another codex-lb is running"):
            async with open_rpc_server([parrot.register], [unix], tls=None, service_token=None):
                pass


async def test_the_socket_of_a_dead_server_is_replaced(parrot: Parrot, unix: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(unix.removeprefix("unix:"))  # and never listens: what a killed process leaves

    async with talking_to(parrot, unix) as stub:
        answer = await stub.say(StringValue(value="hello"))

    assert answer.value == "hello"


async def test_a_client_that_hangs_up_ends_the_handler_and_logs_nothing(parrot: Parrot, unix: str) -> None:
    with capture_logs() as logged:
        async with talking_to(parrot, unix) as stub:
            stream = stub.repeat()
            await stream.write(StringValue(value="hello"))
            await stream.read()
            stream.cancel()
            with anyio.fail_after(WITHIN_S):
                await parrot.left_alone.wait()

    assert logged == []


async def test_stopping_ends_calls_that_take_too_long(parrot: Parrot, unix: str) -> None:
    async with open_channel(unix, tls_ca_file=None, service_token=None) as channel:
        with anyio.fail_after(WITHIN_S):
            async with open_rpc_server([parrot.register], [unix], tls=None, service_token=None, stop_within_s=0.1):
                call = ParrotStub(channel).wait(StringValue(value="forever"), timeout=60)
                await parrot.hears.wait()

            code = await call.code()

    assert code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def test_a_channel_finds_a_server_that_was_restarted(parrot: Parrot, unix: str) -> None:
    async with open_channel(unix, tls_ca_file=None, service_token=None) as channel:
        stub = ParrotStub(channel)
        answers = []
        for greeting in ("hello", "hello again"):
            async with open_rpc_server([parrot.register], [unix], tls=None, service_token=None):
                answers.append((await stub.say(StringValue(value=greeting), wait_for_ready=True)).value)

    assert answers == ["hello", "hello again"]


async def test_a_call_that_names_no_deadline_gets_one(unix: str) -> None:
    remaining: list[float] = []

    async def look(request: StringValue, context: Context) -> StringValue:
        remaining.append(context.time_remaining())
        return request

    async with talking_to(Parrot(look), unix) as stub:
        await stub.say(StringValue())
        await stub.say(StringValue(), timeout=60)

    assert [round(seconds) for seconds in remaining] == [5, 60]
