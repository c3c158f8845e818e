"""What is uploaded: a recording to transcribe, and files that are registered, put elsewhere and finalised."""

import email
import email.policy
from collections import OrderedDict
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Final

import msgspec
from aiohttp import web

from tests.support.simulator import faults, strictness
from tests.support.simulator.accounts import Account
from tests.support.simulator.bodies import decode
from tests.support.simulator.journal import Recording
from tests.support.simulator.prompts import JsonObject
from tests.support.simulator.reception import Reception
from tests.support.simulator.turn import Ids

FILE_BYTES_MAX: Final = 512 * 2**20
_FILES_MAX: Final = 10_000


@dataclass(slots=True)
class _File:
    account_id: str
    name: str
    size_bytes: int
    is_scanned: bool = False  # the first finalisation comes too early


class Uploads:
    """The endpoints for recordings and files."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._new_id = Ids()
        self._files: OrderedDict[str, _File] = OrderedDict()

    async def transcribe(self, request: web.Request, recording: Recording) -> web.StreamResponse:
        """POST /backend-api/transcribe"""
        account = self._reception.account(request, recording)
        recording.body = await request.read()
        _refuse_unusual_headers(request, recording)
        await self._reception.play(self._reception.step(recording, account), account)
        form = _form(request.headers.get("content-type", ""), recording.body)
        if "file" not in form or not set(form) <= {"file", "prompt"}:
            raise faults.RefusedError(faults.detail(f"Unexpected form fields: {sorted(form)}", 422))
        audio, prompt = form["file"], form.get("prompt")
        payload = _payload(audio)
        text = f"{audio.get_filename()} of {len(payload)} bytes, {audio.get_content_type()}"
        return _json(
            recording,
            account,
            {"text": text, "prompt": _payload(prompt).decode() if prompt else None, "audio": payload.decode("latin-1")},
        )

    async def create(self, request: web.Request, recording: Recording) -> web.StreamResponse:
        """POST /backend-api/files"""
        account = self._reception.account(request, recording)
        body = decode(await self._reception.body(request, recording))
        _refuse_unusual_headers(request, recording)
        await self._reception.play(self._reception.step(recording, account), account)
        match body:
            case {"file_name": str(name), "file_size": int(size), "use_case": str()} if name and size <= FILE_BYTES_MAX:
                file_id = self._new_id("file_")
                self._files[file_id] = _File(account.account_id, name, size)
                while len(self._files) > _FILES_MAX:
                    self._files.popitem(last=False)
                url = f"https://blobs.example/{file_id}"
                return _json(recording, account, {"status": "success", "file_id": file_id, "upload_url": url})
            case _:
                raise faults.RefusedError(faults.detail("Field required: file_name, file_size, use_case", 422))

    async def uploaded(self, request: web.Request, recording: Recording) -> web.StreamResponse:
        """POST /backend-api/files/{file_id}/uploaded: ``retry`` the first time, then done."""
        account = self._reception.account(request, recording)
        decode(await self._reception.body(request, recording))
        _refuse_unusual_headers(request, recording)
        await self._reception.play(self._reception.step(recording, account), account)
        file = self._files.get(request.match_info["file_id"])
        if file is None or file.account_id != account.account_id:
            raise faults.RefusedError(faults.detail("File not found", 404))
        if not file.is_scanned:
            file.is_scanned = True
            return _json(recording, account, {"status": "retry"})
        done: JsonObject = {
            "status": "success",
            "download_url": f"https://blobs.example/{request.match_info['file_id']}/content",
            "file_name": file.name,
            "mime_type": "application/octet-stream",
            "file_size_bytes": file.size_bytes,
        }
        return _json(recording, account, done)


def _refuse_unusual_headers(request: web.Request, recording: Recording) -> None:
    """The firewall before these endpoints lets few headers pass."""
    unusual = list(strictness.unusual_headers(request.headers))
    if unusual:
        recording.violates("leaked_header", ", ".join(unusual))
        raise faults.RefusedError(faults.detail(f"Unexpected header: {', '.join(unusual)}", 403))


def _form(content_type: str, body: bytes) -> dict[str, EmailMessage]:
    """The parts of a form by name."""
    head = f"content-type: {content_type}\r\n\r\n".encode()
    whole = email.message_from_bytes(head + body, _class=EmailMessage, policy=email.policy.HTTP)
    parts = [part for part in whole.iter_parts() if isinstance(part, EmailMessage)] if whole.is_multipart() else []
    return {str(part.get_param("name", header="content-disposition")): part for part in parts}


def _payload(part: EmailMessage) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _json(recording: Recording, account: Account, answer: JsonObject) -> web.Response:
    body = msgspec.json.encode(answer)
    recording.sent(body)
    return web.Response(body=body, headers={"content-type": "application/json", **account.usage.headers()})
