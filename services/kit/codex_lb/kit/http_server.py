"""An HTTP server as every service of ours runs it: uvicorn that leaves signals alone and ends in good order."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from codex_lb.kit.service import Stop, first_of
from codex_lb.kit.sockets import PortTakenError, bind_tcp
from codex_lb.kit.websocket_protocol import MESSAGE_BYTES_MAX, WebSocketProtocol

__all__ = ["HttpServer", "PortTakenError", "bind_tcp"]

BACKLOG = 2048  # connections the kernel keeps while we are busy
KEEP_ALIVE_S = 75  # longer than the 60 s of usual proxies, so that they, not we, close idle connections
CLOSE_WITHIN_S = 1  # for requests that were cut off, to run their clean-up


class HttpServer:
    """Serves an ASGI app; a Service.

    Draining: the port closes at once, idle connections too; running requests and WebSockets have `drain_s` seconds
    to end by themselves (an app whose streams have no end must watch its own Stop), then they are cancelled.
    """

    def __init__(
        self,
        app: ASGIApp,
        listen: tuple[str, int] | socket.socket,
        *,
        name: str = "http",
        drain_s: float = 10.0,
        websockets: bool = False,
    ) -> None:
        """`listen` is (host, port), bound when `run` starts, or a bound socket, which then is ours to close.

        `websockets` lets clients upgrade.
        """
        self.name = name
        self._app = app
        self._listen = listen
        self._drain_s = drain_s
        self._websockets = websockets
        self._port: int | None = None

    @property
    def port(self) -> int:
        """The bound TCP port, from the moment `ready` is called. Raises RuntimeError before, and for a unix socket."""
        if self._port is None:
            raise RuntimeError(f"{self.name} is not bound yet")
        return self._port

    async def run(self, stop: Stop, ready: Callable[[], None], /) -> None:
        """Serves until `stop` is set, then drains. Raises PortTakenError."""
        config = self._config()
        config.load()  # before the port is taken: it imports, and may fail
        server = _Server(config)
        bound = self._listen if isinstance(self._listen, socket.socket) else bind_tcp(*self._listen)
        name = bound.getsockname()
        self._port = name[1] if isinstance(name, tuple) else None  # a unix socket has a path
        serving = asyncio.create_task(server.serve(sockets=[bound]), name=self.name)

        async def ended() -> None:
            await asyncio.wait([serving])

        try:
            await first_of(server.listening.wait, ended)
            if server.listening.is_set():
                ready()
                await first_of(stop.wait, ended)
                server.stop_listening()
                await server.finish_running(self._drain_s)
        finally:
            server.should_exit = True
            with anyio.CancelScope(shield=True):  # bounded by CLOSE_WITHIN_S, twice
                await serving  # raises what made it end early
                await server.cut_off()

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._app,
            http=HttpToolsProtocol,
            ws=WebSocketProtocol if self._websockets else "none",
            ws_max_size=MESSAGE_BYTES_MAX,
            interface="asgi3",
            lifespan="off",  # resources are opened around us, not by the app
            loop="none",
            workers=1,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # whom to believe is decided where the client's address is needed
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=CLOSE_WITHIN_S,
        )


class _Server(uvicorn.Server):
    """uvicorn, with its signal handling taken out and its ending taken apart."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Does nothing: signals have one owner. Stock servers hand a SIGTERM on and kill the process while it drains."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    def stop_listening(self) -> None:
        """Closes the port and idle connections; those with a running request close after it."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            if isinstance(connection, HttpToolsProtocol):  # a WebSocket would be closed under its running turn
                connection.shutdown()

    async def finish_running(self, within_s: float) -> None:
        """Returns when no request runs any more, or after `within_s` seconds."""
        with anyio.move_on_after(within_s):
            while running := set(self.server_state.tasks):
                await asyncio.wait(running)

    async def cut_off(self) -> None:
        """Lets cancelled requests run their clean-up, then drops connections that still hang."""
        if running := set(self.server_state.tasks):
            await asyncio.wait(running, timeout=CLOSE_WITHIN_S)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
