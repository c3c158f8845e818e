"""POST /v1/audio/transcriptions and POST /backend-api/transcribe (data-plane reference 1.14)."""

from __future__ import annotations

import secrets

from starlette.types import Scope

from codex_lb.gateway.errors import InvalidRequestError
from codex_lb.gateway.ingress.multipart import FormBounds, Part, parse_form, write_form
from codex_lb.gateway.leasing.lease import Work
from codex_lb.gateway.routes.forwarding import ANSWER_BYTES_MAX, JSON_ANSWER
from codex_lb.gateway.routes.gate import Admitted, header
from codex_lb.gateway.routes.reading import Received, check_model
from codex_lb.gateway.turn.forward import Answer, Errand
from codex_lb.gateway.upstream.errand_headers import upload_headers

MODEL = "gpt-4o-transcribe"  # the one that the ChatGPT backend has
BODY_BYTES_MAX = 32 * 2**20
BOUNDS = FormBounds(fields_max=32, field_bytes_max=256 * 2**10, files_max=1, files_bytes_max=25_000_000)
BUDGET_S = 120.0


class Transcription:
    """Either of them; only OpenAI's names a model."""

    methods = frozenset({"POST"})
    body_bytes_max = BODY_BYTES_MAX
    kept_headers = JSON_ANSWER

    def __init__(self, *, names_model: bool) -> None:
        self._names_model = names_model

    def errand(self, scope: Scope, received: Received, admitted: Admitted) -> Errand:  # noqa: ARG002 - nothing else in it
        """The recording and the prompt; upstream takes no other field."""
        parts = form_of(received, BOUNDS)
        fields = {part.name: part for part in parts if part.filename is None}
        if self._names_model:
            check_transcription_model(fields.get("model"))
        check_model(MODEL, admitted)
        audio = next((part for part in parts if part.name == "file" and part.filename is not None), None)
        if audio is None:
            raise InvalidRequestError("A file is required", param="file")
        prompt = fields.get("prompt")
        boundary = secrets.token_hex(24)
        return Errand(
            work=Work.TRANSCRIPTION,
            method="POST",
            path="/transcribe",
            headers=upload_headers(received.headers),
            accept="*/*",
            content_type=f"multipart/form-data; boundary={boundary}",
            body=write_form([audio, prompt] if prompt is not None else [audio], boundary),
            budget_s=BUDGET_S,
            answer_bytes_max=ANSWER_BYTES_MAX,
            model=MODEL,
        )

    def accept(self, scope: Scope, answer: Answer) -> None:
        """Whatever upstream heard."""


def form_of(received: Received, bounds: FormBounds) -> list[Part]:
    """The form of a request. Raises InvalidRequestError."""
    if header(received.headers, b"content-encoding").strip().lower() not in (b"", b"identity"):
        raise InvalidRequestError("Compressed multipart uploads are not supported", code="invalid_request")
    return parse_form(received.plain, header(received.headers, b"content-type"), bounds)


def check_transcription_model(part: Part | None) -> None:
    """Raises InvalidRequestError."""
    if part is None:
        raise InvalidRequestError("A model is required", param="model")
    if part.text.strip() != MODEL:
        raise InvalidRequestError(f"The model must be {MODEL}", param="model")
