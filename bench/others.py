"""What the product is compared with: the floor of our stack, nginx, and upstream without anything in between."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from bench.process import pin
from bench.subjects import MEASURED_CORE, PLAIN, Subject, made, started
from tests.support.system import free_port, until

ENDS_WITHIN_S = 5.0
NGINX = """
daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 0; client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path fastcgi; scgi_temp_path scgi; uwsgi_temp_path uwsgi;
  upstream up {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048; keepalive_requests 1000000000;
    location / {{
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""


@asynccontextmanager
async def floor(upstream: str, _folder: Path) -> AsyncIterator[Subject]:
    """The bare pass-through."""
    port = free_port()
    async with running([sys.executable, "-m", "bench.floor", upstream, str(port)], Path.cwd(), port) as pid:
        yield Subject("floor", f"http://127.0.0.1:{port}", {"floor": pid})


@asynccontextmanager
async def nginx(upstream: str, folder: Path) -> AsyncIterator[Subject]:
    """nginx that buffers nothing."""
    port, program = free_port(), shutil.which("nginx")
    assert program is not None
    configuration = made(folder) / "nginx.conf"
    configuration.write_text(NGINX.format(upstream=upstream.removeprefix("http://"), port=port))
    command = [program, "-p", str(folder), "-e", "stderr", "-c", str(configuration)]
    async with running(command, folder, port) as pid:
        yield Subject("nginx", f"http://127.0.0.1:{port}", {"nginx": pid}, loads=PLAIN - {"waits"})


@asynccontextmanager
async def nothing(upstream: str, _folder: Path) -> AsyncIterator[Subject]:
    """The upstream itself: what a latency is measured against."""
    yield Subject("direct", upstream, {})


@asynccontextmanager
async def running(
    command: list[str],
    folder: Path,
    port: int,
    *,
    env: Mapping[str, str] | None = None,
    within_s: float = 10.0,
    log: Path | None = None,
) -> AsyncIterator[int]:
    """A server while it answers on a port, pinned; its process. What it complains of goes to `log`, or is seen."""
    process = started(command, folder, env=env, log=log)
    try:
        async with httpx.AsyncClient(trust_env=False) as client:

            async def answers() -> bool:
                try:
                    await client.get(f"http://127.0.0.1:{port}/")
                except httpx.TransportError:
                    return False
                return True

            await until(answers, within_s=within_s, what=f"answer of {command[0]}")
        pin(process.pid, MEASURED_CORE)
        yield process.pid
    finally:
        process.send_signal(signal.SIGCONT)  # it may stand still
        process.terminate()  # and not at once: nginx takes its worker along
        await asyncio.to_thread(ended, process)


def ended(process: subprocess.Popen[bytes]) -> None:
    """Returns once it is gone, by itself or by force."""
    try:
        process.wait(ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
