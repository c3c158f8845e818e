"""The small Codex endpoints: each tells what it was asked, and by which account."""

import msgspec
from aiohttp import web

from tests.support.simulator.journal import Recording
from tests.support.simulator.reception import Reception
from tests.support.simulator.record import Echo


class Echoes:
    """Goals, analytics, memories, search and their like."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception

    async def echo(self, request: web.Request, recording: Recording) -> web.StreamResponse:
        """An answer with headers that a client should get, and one that it should not."""
        account = self._reception.account(request, recording)
        body = await self._reception.body(request, recording)
        await self._reception.play(self._reception.step(recording, account), account)
        if request.headers.get("if-none-match") == '"echo"':
            return web.Response(status=304, headers={"etag": '"echo"'})
        told = Echo(
            account=account.name,
            method=request.method,
            target=request.raw_path,
            content_type=request.headers.get("content-type"),
            accept=request.headers.get("accept"),
            body=body.decode("latin-1"),
        )
        answer = msgspec.json.encode(told)
        recording.sent(answer)
        headers = {
            "content-type": "application/json; of=echo",
            "cache-control": "max-age=60",
            "etag": '"echo"',
            "request-id": "upstream-1",
            "x-secret-of-upstream": "kept to ourselves",
        }
        return web.Response(status=201, body=answer, headers={**headers, **account.usage.headers()})
