"""A process with two HTTP servers in one loop, for test_signals. Prints its ports once both serve.

`/stream` sends a line at once and another when the process was asked to stop; `/forever` never ends.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import anyio
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from codex_lb.kit.http_server import HttpServer
from codex_lb.kit.service import Stop, run_all
from codex_lb.kit.signals import stop_on_signals


async def main() -> None:
    stop = Stop()

    async def lines() -> AsyncIterator[bytes]:
        yield b"first\n"
        await stop.wait()
        yield b"last\n"

    async def endless() -> AsyncIterator[bytes]:
        yield b"first\n"
        await anyio.sleep_forever()

    async def stream(_request: Request) -> StreamingResponse:
        return StreamingResponse(lines())

    async def forever(_request: Request) -> StreamingResponse:
        return StreamingResponse(endless())

    app = Starlette(routes=[Route("/stream", stream), Route("/forever", forever)])
    servers = [HttpServer(app, ("127.0.0.1", 0), name=name, drain_s=60) for name in ("one", "two")]

    def say_ports() -> None:
        sys.stdout.write(" ".join(str(server.port) for server in servers) + "\n")
        sys.stdout.flush()

    async with stop_on_signals(stop):
        await run_all(servers, stop, drain_s=90, on_ready=say_ports)
    sys.stdout.write("cleaned up\n")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
