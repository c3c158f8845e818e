"""``python -m tests.support.simulator --port 0``: says where it listens in one JSON line, then serves until stopped."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import uvloop
from aiohttp import web

from tests.support.simulator.app import build_app

_HOST = "127.0.0.1"
_STREAMS_END_WITHIN_S = 0.2  # whoever stops the simulator does not wait for its streams
_BACKLOG = 1024  # a burst of new connections must not meet a full queue


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--state-file", type=Path, help="where to write the same JSON line, once it listens")
    parser.add_argument(
        "--with-parent", action="store_true", help="stop when stdin closes, as it does when the parent dies"
    )
    given = parser.parse_args()
    uvloop.run(serve(given.port, given.state_file, with_parent=given.with_parent))


async def serve(port: int, state_file: Path | None, *, with_parent: bool) -> None:
    """Serves until SIGTERM, SIGINT or, if asked, the end of stdin."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(
        build_app(),
        access_log=None,
        auto_decompress=False,  # bodies are unpacked and bounded by us
        handler_cancellation=True,  # a caller who goes ends the answer at once, and the journal says when
        shutdown_timeout=_STREAMS_END_WITHIN_S,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, _HOST, port, backlog=_BACKLOG)
        await site.start()
        _announce(runner.addresses[0][1], state_file)
        if with_parent:
            await loop.connect_read_pipe(lambda: _Parent(stop), sys.stdin)
        await stop.wait()
    finally:
        await runner.cleanup()


class _Parent(asyncio.Protocol):
    """Our parent's end of stdin."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._stop.set()


def _announce(port: int, state_file: Path | None) -> None:
    line = msgspec.json.encode({"base_url": f"http://{_HOST}:{port}", "port": port, "pid": os.getpid()}) + b"\n"
    if state_file is not None:
        written = state_file.with_suffix(".part")
        written.write_bytes(line)
        written.replace(state_file)
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
