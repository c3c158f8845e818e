"""The short GET endpoints: the model list and the usage page."""

import msgspec
from aiohttp import web

from tests.support.simulator import faults
from tests.support.simulator.journal import Journal, Recording
from tests.support.simulator.reception import Reception


class Pages:
    """What an account may read about itself."""

    def __init__(self, reception: Reception, journal: Journal) -> None:
        self._reception = reception
        self._journal = journal

    async def models(self, request: web.Request, recording: Recording) -> web.StreamResponse:
        """GET /backend-api/codex/models?client_version=…"""
        account = self._reception.account(request, recording)
        self._journal.count(account.name, model_reads=1)
        if not request.query.get("client_version"):
            raise faults.RefusedError(faults.detail("Field required: client_version", 422))
        await self._reception.play(self._reception.step(recording, account), account)
        return _json(recording, account.catalog.body, {"etag": account.catalog.etag})

    async def usage(self, request: web.Request, recording: Recording) -> web.StreamResponse:
        """GET /backend-api/wham/usage"""
        account = self._reception.account(request, recording)
        self._journal.count(account.name, usage_reads=1)
        await self._reception.play(self._reception.step(recording, account), account)
        page = account.usage.page(account_id=account.account_id, user_id=account.user_id, email=account.email)
        return _json(recording, msgspec.json.encode(page), {})


def _json(recording: Recording, body: bytes, headers: dict[str, str]) -> web.Response:
    recording.sent(body)
    return web.Response(body=body, headers={"content-type": "application/json", **headers})
