"""Where browsers come back to: a port that is bound only while a sign-in waits for one.

The port is shared with other programs that sign in to the same issuer (the Codex CLI listens there too), so it is given
back as soon as nothing waits, and an address that belongs to none of our sign-ins changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio
import anyio.abc
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from codex_lb.control.domain.callback import read_query
from codex_lb.control.domain.enrolment import Flow, FlowStage
from codex_lb.control.errors import ControlError, InvalidCallbackError
from codex_lb.control.oauth.pages import failure_page, success_page
from codex_lb.control.usecases.finish_flow import FinishFlow
from codex_lb.kit.http_server import HttpServer, PortTakenError, bind_tcp
from codex_lb.kit.service import Stop

DRAIN_S = 2.0  # for the page that tells how it went; the exchange before it is over by then

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@asynccontextmanager
async def open_callback_port(
    finish: FinishFlow, address: tuple[str, int], *, redirect_uri: str
) -> AsyncIterator[CallbackListener]:
    """A listener, closed at first."""
    app = Starlette(
        routes=[Route(urlsplit(redirect_uri).path or "/", CallbackPage(finish).show, methods=["GET"])],
        exception_handlers={404: _nothing_here, 405: _nothing_here},
    )
    async with anyio.create_task_group() as tasks:
        listener = CallbackListener(app, address, tasks)
        try:
            yield listener
        finally:
            with anyio.CancelScope(shield=True):
                await listener.close()


class CallbackListener:
    """The CallbackPort port."""

    def __init__(self, app: Starlette, address: tuple[str, int], tasks: anyio.abc.TaskGroup) -> None:
        self._app = app
        self._address = address
        self._tasks = tasks
        self._lock = anyio.Lock()
        self._serving: _Serving | None = None
        self._problem = ""

    async def open(self) -> str:
        """Binds the port unless it is bound."""
        async with self._lock:
            if self._serving is None or self._serving.ended.is_set():
                self._serving = None
                await self._bind()
            return self._problem

    async def close(self) -> None:
        """Gives the port back; a page that is being sent is sent."""
        async with self._lock:
            if self._serving is not None:
                self._serving.stop.set()
                await self._serving.ended.wait()
                self._serving = None
                log.info("the callback port is free again", port=self._address[1])

    async def _bind(self) -> None:
        try:
            bound = bind_tcp(*self._address)
            bound.listen()  # a port that another program listens on fails only here on some systems
        except (PortTakenError, OSError) as error:
            before, self._problem = self._problem, f"{error} Sign in all the same, and paste the last page's address."
            if before != self._problem:
                log.warning("browsers cannot come back by themselves", why=str(error))
            return
        self._problem = ""
        self._serving = _Serving(HttpServer(self._app, bound, name="oauth-callback", drain_s=DRAIN_S))
        await self._tasks.start(self._serving.run)
        log.info("the callback port listens", port=self._address[1])


class _Serving:
    """One server between its start and its end."""

    def __init__(self, server: HttpServer) -> None:
        self.stop = Stop()
        self.ended = anyio.Event()
        self._server = server

    async def run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        try:
            await self._server.run(self.stop, task_status.started)
        finally:
            self.ended.set()


class CallbackPage:
    """What the browser is shown."""

    def __init__(self, finish: FinishFlow) -> None:
        self._finish = finish

    async def show(self, request: Request) -> Response:
        """Ends the sign-in that the address belongs to, and says how."""
        try:
            flow = await self._finish.by_callback(read_query(request.query_params))
        except InvalidCallbackError as error:
            log.warning("a browser came back to no sign-in of ours")
            return failure_page(str(error), status=400)
        except ControlError as error:
            log.warning("a browser came back and could not be served", why=str(error))
            return failure_page(f"{error}. Load this page again in a moment.", status=503)
        return page_of(flow)


def page_of(flow: Flow) -> Response:
    """How a sign-in stands, for the browser that came back."""
    match flow.stage:
        case FlowStage.SUCCEEDED if flow.is_account_new:
            return success_page("The account is in the pool.")
        case FlowStage.SUCCEEDED:
            return success_page("The account has its new login.")
        case FlowStage.FAILED:
            return failure_page(flow.problem, status=400)
        case FlowStage.CANCELLED:
            return failure_page("This sign-in was cancelled in codex-lb; nothing was changed.", status=400)
        case FlowStage.EXPIRED:
            return failure_page("This sign-in took too long and has expired. Start another.", status=400)
        case FlowStage.PENDING | FlowStage.EXCHANGING:  # the issuer did not answer; another try may succeed
            return failure_page(flow.problem, status=502)


async def _nothing_here(_request: Request, _error: Exception) -> Response:
    return failure_page("There is nothing here. This port only waits for browsers that come back.", status=404)
