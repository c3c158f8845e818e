"""The lines: every connection that carries an answer, so that the control API can cut them at will."""

from asyncio import Transport
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from tests.support.simulator.journal import Recording


class Lines:
    """Who is being answered, over which connection."""

    def __init__(self) -> None:
        self._open: dict[Recording, Transport] = {}

    @contextmanager
    def carrying(self, request: web.Request, recording: Recording) -> Iterator[None]:
        """The recording's answer travels over the request's connection."""
        if request.transport is not None:
            self._open[recording] = request.transport
        try:
            yield
        finally:
            self._open.pop(recording, None)

    def cut(self, account: str | None = None) -> int:
        """Closes the connections of this account, or of all; returns how many answers that ended."""
        chosen = [one for one in self._open if account in (None, one.account)]
        for recording in chosen:
            recording.end("cut")  # before the connection is lost, or it would look as if the caller went
            self._open[recording].close()
        return len(chosen)
