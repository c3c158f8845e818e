"""POST /backend-api/codex/responses: a turn as an event stream."""

import asyncio
from typing import Final

import msgspec
from aiohttp import web

from tests.support.simulator import ciphertext
from tests.support.simulator.accounts import Account
from tests.support.simulator.answers import Event
from tests.support.simulator.bodies import decode
from tests.support.simulator.journal import Recording
from tests.support.simulator.reception import Reception
from tests.support.simulator.steps import Strange
from tests.support.simulator.turn import Turns

_STREAM: Final = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_COMMENT: Final = b": keepalive\n\n"


class Responses:
    """The Responses endpoint over HTTP."""

    def __init__(self, reception: Reception, turns: Turns) -> None:
        self._reception = reception
        self._turns = turns

    async def create(self, request: web.Request, recording: Recording) -> web.StreamResponse:
        """One turn."""
        account = self._reception.account(request, recording)
        body = decode(await self._reception.body(request, recording))
        check_turn_state(request, recording, account)
        with self._turns.counted(recording, account):
            turn = self._turns.prepare(recording, account, body, is_websocket=False)
            end = await self._reception.play(turn.step, account)
            headers = {**_STREAM, **answer_headers(request, account, self._turns.new_id(""), str(body["model"]))}
            sink = await _EventStream.open(request, headers, recording, turn.step.shred_bytes)
            if account.sends_rate_limit_events:
                await sink.send(event_of(account))
            if isinstance(end, Strange):
                await sink.write(_COMMENT)
            await self._turns.play(turn, recording, sink, end)
            await sink.close(1000)
        return sink.response


class _EventStream:
    """The body of an answer as it leaves."""

    def __init__(self, response: web.StreamResponse, recording: Recording, shred_bytes: int | None) -> None:
        self.response = response
        self._recording = recording
        self._shred_bytes = shred_bytes

    @classmethod
    async def open(
        cls, request: web.Request, headers: dict[str, str], recording: Recording, shred_bytes: int | None
    ) -> "_EventStream":
        response = web.StreamResponse(headers=headers)
        recording.status = response.status
        await response.prepare(request)
        return cls(response, recording, shred_bytes)

    async def send(self, event: Event, *, bytes_max: int | None = None) -> int:
        data = event.sse()
        await self.write(data[:bytes_max])
        return len(data)

    async def write(self, data: bytes) -> None:
        size = self._shred_bytes or len(data)
        for start in range(0, len(data), size or 1):
            piece = data[start : start + size]
            await self.response.write(piece)
            self._recording.sent(piece)
            if self._shred_bytes:
                await asyncio.sleep(0)  # what is written within one pass of the loop leaves together

    async def close(self, code: int) -> None:  # noqa: ARG002 - only a WebSocket has codes
        await self.response.write_eof()


def event_of(account: Account) -> Event:
    """The account's usage as an event; it has no sequence number."""
    return Event("codex.rate_limits", msgspec.json.encode(account.usage.event()))


def check_turn_state(request: web.Request, recording: Recording, account: Account) -> None:
    """Turn state belongs to the account it was given out for."""
    owner = ciphertext.owner_of(request.headers.get("x-codex-turn-state", ""))
    if owner is not None and owner != account.account_id:
        recording.violates("foreign_turn_state", f"made for {owner}")


def answer_headers(request: web.Request, account: Account, request_id: str, model: str) -> dict[str, str]:
    """The headers of every good answer."""
    turn_state = request.headers.get("x-codex-turn-state") or ciphertext.seal(account.account_id, request_id)
    return {
        **account.usage.headers(),
        "openai-model": model,
        "x-codex-turn-state": turn_state,
        "x-models-etag": account.catalog.etag,
        "x-reasoning-included": "true",
        "x-request-id": request_id,
        "cf-ray": f"{request_id[-12:]}-SIM",
    }
