"""Where secrets are, and where they must never be: seeded tokens are looked for everywhere the product leaves anything."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from codex_lb.api.admin.v1 import account_service_pb2 as pb
from tests.support.system import System, a_turn, free_port, start_all_in_one, start_services
from tests.support.upstream import SimAccount, Upstream, hang_headers, http, unauthorized

CHUNK_BYTES = 4 * 2**20


@pytest.fixture
async def services(upstream: Upstream, tmp_path: Path) -> AsyncIterator[System]:
    """Control, a gateway and a worker, each in a process with what it may have and no more."""
    await upstream.reset(accounts=True)
    async with start_services(upstream, tmp_path, env={"CODEX_LB_USAGE_REFRESH_INTERVAL_SECONDS": "1"}) as system:
        yield system


@pytest.fixture
async def talkative(upstream: Upstream, tmp_path: Path) -> AsyncIterator[System]:
    """The product saying all it has to say."""
    await upstream.reset(accounts=True)
    env = {
        "CODEX_LB_METRICS_ENABLED": "true",
        "CODEX_LB_METRICS_PORT": str(free_port()),
        "CODEX_LB_LOG_LEVEL": "DEBUG",
        "CODEX_LB_USAGE_REFRESH_INTERVAL_SECONDS": "1",
        "CODEX_LB_TOKEN_REFRESH_TIMEOUT_SECONDS": "2",
    }
    async with start_all_in_one(upstream, tmp_path, env=env) as system:
        yield system


async def test_a_gateway_has_neither_a_refresh_token_nor_the_key(services: System, tmp_path: Path) -> None:
    [ada] = await services.add("ada")
    await services.upstream.script("ada", unauthorized())
    await _turn(services)  # rejected, so that the login is rotated
    rotated = await services.wait_for_account(ada, lambda account: account.etag.startswith("2-"))
    answer = await _turn(services)
    key = (services.data_dir / "encryption.key").read_bytes().split()[-1]
    raw = base64.urlsafe_b64decode(key)
    secrets = {
        "refresh token": ada.refresh_token.encode(),
        "rotated refresh token": await _newest_refresh_token(services.upstream),
        "key": key,
        "half of the key that signs": raw[:16],
        "half of the key that encrypts": raw[16:],
    }

    memory = _found(secrets, _memory(services.gateway.pid))
    environment = _found(secrets, _environment(services.gateway.pid))
    disk = _found(secrets, _files(tmp_path / "gateway-1"))

    assert (answer, rotated.status) == (200, pb.ACCOUNT_STATUS_ACTIVE)
    assert (memory, environment, disk) == (set(), set(), set())
    # The same search does find what is there: control opens logins.
    assert {"rotated refresh token", "half of the key that signs"} <= _found(secrets, _memory(services.control.pid))


async def test_no_token_reaches_logs_metrics_errors_answers_or_the_database(talkative: System, tmp_path: Path) -> None:
    ada, bob = await talkative.add("ada", "bob")
    everything = [await _turn(talkative, raw=True)]
    for step in (http(500), http(401, "invalid_grant"), hang_headers()):
        await talkative.upstream.script("bob", step, kind="token")
        everything.append((await talkative.run("admin", "accounts", "refresh", bob.email, "--rotate-tokens")).out)
    await talkative.upstream.script("ada", unauthorized(), http(500), kind="usage")
    await talkative.wait_for_account(ada, lambda account: account.etag.startswith("2-"))
    await talkative.run("admin", "accounts", "refresh", ada.email, "--rotate-tokens")
    await talkative.wait_for_account(ada, lambda account: account.etag.startswith("3-"))
    everything.append(await _turn(talkative, raw=True))
    everything.append((await talkative.run("admin", "accounts", "list", "--json")).out)
    async with httpx.AsyncClient(trust_env=False) as client:
        everything.append((await client.get(_metrics_url(talkative))).text)
    everything += [program.log for program in talkative.programs]
    written = "\n".join(everything).encode() + b"".join(_files(tmp_path))

    tokens = [*_tokens_of(ada), *_tokens_of(bob), await _newest_refresh_token(talkative.upstream)]

    assert "tokens rotated" in talkative.control.log
    assert [token[:12] for token in tokens if token in written] == []
    assert re.findall(rb"(?<!ale)rt_[A-Za-z0-9_-]{20,}", written) == []  # there are tables of alerts
    assert re.findall(rb"eyJ[\w-]{20,}\.[\w-]{20,}", written) == []


async def _turn(services: System, *, raw: bool = False) -> int | str:
    answer = await services.client.post("/v1/responses", json=a_turn())
    return answer.text if raw else answer.status_code


async def _newest_refresh_token(upstream: Upstream) -> bytes:
    """The last one that the issuer gave for another."""
    found = [re.search(rb'"refresh_token":"([^"]+)"', row.answer) for row in await upstream.log("token")]
    return [match[1] for match in found if match][-1]


def _tokens_of(account: SimAccount) -> list[bytes]:
    return [token.encode() for token in (account.access_token, account.refresh_token, account.id_token)]


def _metrics_url(services: System) -> str:
    environment = services.environment
    return f"http://127.0.0.1:{environment['CODEX_LB_METRICS_PORT']}/metrics"


def _found(secrets: dict[str, bytes], pieces: Iterator[bytes]) -> set[str]:
    """Which of the secrets stand in any of the pieces."""
    return {name for piece in pieces for name, secret in secrets.items() if secret in piece}


def _files(folder: Path) -> Iterator[bytes]:
    return (file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name != "encryption.key")


def _environment(pid: int) -> Iterator[bytes]:
    yield Path(f"/proc/{pid}/environ").read_bytes()


def _memory(pid: int) -> Iterator[bytes]:
    """Every readable byte of a process."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, mode, *_ = line.split()
            if not mode.startswith("r") or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            start, end = (int(bound, 16) for bound in span.split("-"))
            tail = b""
            while start < end:
                try:
                    memory.seek(start)
                    piece = memory.read(min(CHUNK_BYTES, end - start))
                except OSError:
                    break  # a mapping that is not backed by anything
                if not piece:
                    break
                yield tail + piece
                tail, start = piece[-256:], start + len(piece)
