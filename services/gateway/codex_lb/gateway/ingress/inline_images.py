"""Fetches the images that requests name by URL, because upstream's answers with them are better than with their URLs.

Whoever may send a request chooses these URLs, so fetching must not become a way into the operator's network: https
only, to names and addresses that are public. A name is resolved once, every address it has is checked, and the
connection goes to one of those; redirects are not followed, proxies of the environment are not used, nothing is sent
that identifies anybody. An image that cannot be had stays a URL: upstream then says what it thinks of it.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Final

import aiohttp
import anyio
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from codex_lb.gateway.ingress.images import FetchImages
from codex_lb.gateway.ingress.public_address import Address, is_public
from codex_lb.gateway.upstream.headers import VERSION

IMAGES_MAX = 16  # per request
AT_ONCE_MAX = 4  # per request
CONNECTIONS_MAX = 32  # of the process
WITHIN_S = 8.0  # all images of a request together: its turn waits for them
IMAGE_BYTES_MAX = 8 * 2**20
TOGETHER_BYTES_MAX = 64 * 2**20  # of the data URLs of a request
HTTPS_PORT = 443

# A name as DNS has it, with a dot and no number at its end: `2130706433`, `0x7f.1` and `127.1` are addresses to some.
NAME: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])")
TYPES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")
HEADERS: Final = {"Accept": ", ".join(TYPES), "Accept-Encoding": "identity", "User-Agent": f"codex-lb/{VERSION}"}
log = structlog.get_logger(__name__)

IsPublic = Callable[[Address], bool]


@asynccontextmanager
async def open_image_fetcher(
    allowed_hosts: Collection[str],
    *,
    may_connect: IsPublic = is_public,
    resolver: AbstractResolver | None = None,
    tls: ssl.SSLContext | None = None,
    within_s: float = WITHIN_S,
) -> AsyncIterator[FetchImages]:
    """A fetcher with a session of its own, which shares nothing with upstream's."""
    connector = aiohttp.TCPConnector(
        resolver=CheckedResolver(resolver or aiohttp.ThreadedResolver(), may_connect),
        use_dns_cache=False,
        ssl=tls or True,
        limit=CONNECTIONS_MAX,
        force_close=True,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=within_s),
        headers=HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
    )
    async with session:
        yield ImageFetcher(session, frozenset(allowed_hosts), may_connect, within_s=within_s).fetch_all


class NoImageError(Exception):
    """There is no image to be had; the text says why."""


class NotPublicError(OSError):
    """A name has an address that is not public, or none."""


class ImageFetcher:
    """Fetches images."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        allowed_hosts: frozenset[str],
        may_connect: IsPublic,
        *,
        within_s: float,
    ) -> None:
        self._session = session
        self._allowed_hosts = allowed_hosts
        self._may_connect = may_connect
        self._within_s = within_s

    async def fetch_all(self, urls: Sequence[str]) -> dict[str, str]:
        """As many as can be had in time, as data URLs."""
        images: dict[str, str] = {}
        slots = asyncio.Semaphore(AT_ONCE_MAX)

        async def fetch_into(url: str) -> None:
            try:
                async with slots:
                    if sum(map(len, images.values())) > TOGETHER_BYTES_MAX:
                        raise NoImageError("the others are too large")
                    images[url] = await self._fetch(url)
            except NoImageError as error:
                log.info("an image stays a URL", problem=str(error))
            except (aiohttp.ClientError, OSError, ValueError) as error:
                log.info("an image stays a URL", problem=type(error).__name__)

        with anyio.move_on_after(self._within_s):
            async with anyio.create_task_group() as tasks:
                for url in urls[:IMAGES_MAX]:
                    tasks.start_soon(fetch_into, url)
        return images

    async def _fetch(self, url: str) -> str:
        target = URL(url)  # parsed once: what is checked and what is fetched must not be two readings of one text
        if not may_fetch(target, self._allowed_hosts, self._may_connect):
            raise NoImageError("its URL is not one to be fetched")
        async with self._session.get(target, allow_redirects=False) as answer:
            return await _data_url(answer)


class CheckedResolver(AbstractResolver):
    """Resolves names of which every address is public. Connections are made to what it returns and to nothing else."""

    def __init__(self, names: AbstractResolver, may_connect: IsPublic) -> None:
        self._names = names
        self._may_connect = may_connect

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises NotPublicError, also when only one of several addresses is not public: no honest name is like that."""
        found = await self._names.resolve(host, port, family)
        if not found or not all(self._may_connect(ip_address(one["host"])) for one in found):
            raise NotPublicError(f"{host} is not public")
        return found

    async def close(self) -> None:
        """Closes the resolver inside."""
        await self._names.close()


def may_fetch(url: URL, allowed_hosts: frozenset[str], may_connect: IsPublic) -> bool:
    """Whether it may be fetched as far as the URL says; the addresses of a name are checked when it is resolved.

    Any host may be named while none is listed; a port other than that of https must be listed with its host.
    """
    host, port = (url.raw_host or "").lower(), url.port
    if url.scheme != "https" or url.raw_user is not None or url.raw_password is not None:
        return False
    names = {f"{host}:{port}", host} if port == HTTPS_PORT else {f"{host}:{port}"}
    if names.isdisjoint(allowed_hosts) and (allowed_hosts or port != HTTPS_PORT):
        return False
    if NAME.fullmatch(host):
        return True
    try:
        return may_connect(ip_address(host))
    except ValueError:
        return False


async def _data_url(answer: aiohttp.ClientResponse) -> str:
    """The image in an answer. Raises NoImageError."""
    if answer.status != 200:
        raise NoImageError(f"its server answers with {answer.status}")
    if answer.content_type not in TYPES or answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise NoImageError("its server says that it is something else")
    data = bytearray()
    if (answer.content_length or 0) <= IMAGE_BYTES_MAX:
        async for piece in answer.content.iter_any():
            data += piece
            if len(data) > IMAGE_BYTES_MAX:
                break
    if not 0 < len(data) <= IMAGE_BYTES_MAX:
        raise NoImageError("it is too large, or empty")
    kind = type_of(data)
    if kind is None:
        raise NoImageError("its bytes are something else")
    return f"data:{kind};base64,{b64encode(data).decode()}"


def type_of(data: bytes | bytearray) -> str | None:
    """What the bytes are, whatever the server calls them."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None
