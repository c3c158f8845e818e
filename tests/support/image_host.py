"""A web server with TLS, for whoever fetches from one: its own CA, any names, scripted answers, a list of who came."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import AF_INET, AddressFamily

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOST = "images.test.example"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class ImageHost:
    """A running server."""

    port: int
    trusting: ssl.SSLContext  # for a client that trusts its CA
    handlers: dict[str, Handler] = field(default_factory=dict)
    seen: list[web.BaseRequest] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)  # addresses that were connected to
    at_once: int = 0
    at_once_seen: int = 0

    def url(self, path: str, host: str = HOST) -> str:
        """The URL of a path."""
        return f"https://{host}:{self.port}{path}"

    def serve(
        self, path: str, body: bytes = PNG, content_type: str = "image/png", *, status: int = 200, **headers: str
    ) -> str:
        """Answers a path so from now on; its URL."""
        own = {name.replace("_", "-"): value for name, value in headers.items()}

        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.Response(body=body, status=status, headers={"Content-Type": content_type, **own})

        self.handlers[path] = answer
        return self.url(path)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Whatever was scripted for the path."""
        self.seen.append(request)
        assert request.transport is not None
        self.connections.append(request.transport.get_extra_info("sockname")[0])
        self.at_once += 1
        self.at_once_seen = max(self.at_once_seen, self.at_once)
        try:
            return await self.handlers[request.path](request)
        finally:
            self.at_once -= 1


@dataclass
class ScriptedNames(AbstractResolver):
    """A resolver whose answers are a list: one per look-up, the last one for ever."""

    answers: Sequence[Sequence[str]]
    asked: list[str] = field(default_factory=list)

    async def resolve(self, host: str, port: int = 0, family: AddressFamily = AF_INET) -> list[ResolveResult]:  # noqa: ARG002 - the port's shape
        """The next answer."""
        addresses = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(host)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=AF_INET, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


@asynccontextmanager
async def start_image_host(folder: Path, *, host: str = HOST) -> AsyncIterator[ImageHost]:
    """A server for one name, on every loopback address."""
    serving, trusting = _contexts(folder, host)
    image_host = ImageHost(0, trusting)
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", image_host.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "0.0.0.0", 0, ssl_context=serving)
    await site.start()
    image_host.port = runner.addresses[0][1]
    try:
        yield image_host
    finally:
        async with asyncio.timeout(10):
            await runner.cleanup()


def _contexts(folder: Path, host: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server with a certificate for the name, and of a client that trusts whoever signed it."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test CA")])
    ca = (
        _certificate(ca_name, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    own_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    own = (
        _certificate(own_name, ca_name, key)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    ca_file, own_file = folder / "ca.pem", folder / "own.pem"
    ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    own_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + own.public_bytes(serialization.Encoding.PEM)
    )
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(own_file)
    return serving, ssl.create_default_context(cafile=ca_file)


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
    )
