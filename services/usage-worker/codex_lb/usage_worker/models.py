"""Lists the models that upstream offers an account."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import msgspec
import structlog

from codex_lb.usage_worker import faults
from codex_lb.usage_worker.upstream import Answer, account_headers, exchange
from codex_lb.usage_worker.work import Credential, Failure, ListedModel, ModelsFound

WHEN = "listing models"
WITHIN_S = 15.0  # entries carry whole instruction texts, and upstream makes the list anew for every plan
BODY_BYTES_MAX = 4 * 2**20  # ten times today's list; below what a report may carry

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class ModelLister:
    """Asks upstream for an account's models."""

    def __init__(self, http: httpx.AsyncClient, *, upstream_base_url: str, client_version: str) -> None:
        self.timeout_s = WITHIN_S
        self._http = http
        self._url = f"{upstream_base_url.rstrip('/')}/codex/models"
        self._params = {"client_version": client_version}

    async def list(self, credential: Credential) -> ModelsFound | Failure:
        """The account's models, each entry as the bytes upstream sent."""
        request = self._http.build_request("GET", self._url, params=self._params, headers=account_headers(credential))
        answer = await exchange(self._http, request, when=WHEN, within_s=self.timeout_s, body_bytes_max=BODY_BYTES_MAX)
        match answer:
            case Failure():
                return answer
            case Answer(is_success=False):
                return faults.upstream_refusal(answer.status, answer.body, when=WHEN)
            case Answer():
                return parse_models(answer.status, answer.body)


def parse_models(status: int, body: bytes) -> ModelsFound | Failure:
    """Every entry that has a slug. An answer in which none has one is no catalog, but a change of upstream's."""
    try:
        entries = msgspec.json.decode(body, type=_Catalog).models
    except (ValueError, RecursionError):
        return faults.unreadable(when=WHEN, status=status, why="there is no list of models in it")
    found = ModelsFound(tuple(_listed(entries)))
    skipped = len(entries) - len(found.models)
    if entries and not found.models:
        return faults.unreadable(when=WHEN, status=status, why=f"none of its {skipped} entries has a slug")
    if skipped:
        log.warning("models without a slug are skipped", skipped=skipped, listed=len(found.models))
    return found


class _Catalog(msgspec.Struct):
    models: list[msgspec.Raw]


class _Entry(msgspec.Struct):
    slug: str


def _listed(entries: list[msgspec.Raw]) -> Iterator[ListedModel]:
    for raw in entries:
        try:
            slug = msgspec.json.decode(raw, type=_Entry).slug
        except (ValueError, RecursionError):
            continue
        if slug:
            yield ListedModel(slug, bytes(raw))
