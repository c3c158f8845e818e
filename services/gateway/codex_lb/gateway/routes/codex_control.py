"""The small endpoints of Codex itself, forwarded as they are (data-plane reference 1.17)."""

from __future__ import annotations

import string
from urllib.parse import quote

import msgspec
from starlette.types import Scope

from codex_lb.gateway.continuity.owners import Owners
from codex_lb.gateway.errors import InvalidRequestError, UpstreamFailedError
from codex_lb.gateway.leasing.lease import Work
from codex_lb.gateway.outcome import Blame, Fault
from codex_lb.gateway.routes.forwarding import ANSWER_BYTES_MAX
from codex_lb.gateway.routes.gate import Admitted, header
from codex_lb.gateway.routes.reading import Received, session_of
from codex_lb.gateway.turn.forward import Answer, Errand
from codex_lb.gateway.upstream.errand_headers import open_headers
from codex_lb.gateway.upstream.headers import RawHeader

PREFIX = "/backend-api"  # what the base URL of upstream ends in
GOAL = "/backend-api/codex/thread/goal/"
GET, POST = frozenset({"GET"}), frozenset({"POST"})
# Nothing else under /backend-api is forwarded.
ROUTES: dict[str, frozenset[str]] = {
    "/backend-api/codex/thread/goal/get": GET | POST,
    "/backend-api/codex/thread/goal/set": POST,
    "/backend-api/codex/thread/goal/clear": POST,
    "/backend-api/codex/analytics-events/events": POST,
    "/backend-api/codex/memories/trace_summarize": POST,
    "/backend-api/codex/safety/arc": POST,
    "/backend-api/codex/alpha/search": POST,
    "/backend-api/codex/agent-identities/jwks": GET,
    "/backend-api/wham/agent-identities/jwks": GET,
}
KEPT = frozenset({
    "cache-control", "content-type", "etag", "last-modified", "location", "openai-processing-ms", "request-id",
    "x-request-id",
})  # fmt: skip
BUDGET_S = 600.0
ANY_TYPE = "*/*"


class CodexControl:
    """One of them. Requests of one thread go to one account while that can serve: goals live in an account."""

    kept_headers = KEPT

    def __init__(self, path: str, owners: Owners, *, body_bytes_max: int) -> None:
        self.methods = ROUTES[path]
        self.body_bytes_max = body_bytes_max
        self._is_goal = path.startswith(GOAL)
        self._owners = owners

    def errand(self, scope: Scope, received: Received, admitted: Admitted) -> Errand:  # noqa: ARG002 - any key may
        """The request as it came, without its content encoding."""
        if self._is_goal and scope["method"] == "POST" and not is_object(received.plain):
            raise InvalidRequestError("The request body must be a JSON object")
        query: bytes = scope["query_string"]
        content_type = header(received.headers, b"content-type").decode("latin-1")
        accept = header(received.headers, b"accept").decode("latin-1")
        return Errand(
            work=Work.CODEX_CONTROL,
            method=scope["method"],
            path=received.route.removeprefix(PREFIX) + ("?" + verbatim(query) if query else ""),
            headers=open_headers(received.headers),
            accept="application/json" if self._is_goal else accept or ANY_TYPE,
            content_type=content_type or ("application/json" if self._is_goal and received.plain else ""),
            body=received.plain,
            budget_s=BUDGET_S,
            answer_bytes_max=ANSWER_BYTES_MAX,
            preferred_account_id=self._owners.owner_of(thread_of(received.headers)),
        )

    def accept(self, scope: Scope, answer: Answer) -> None:
        """A goal that is no object would break the client."""
        if self._is_goal and answer.status < 300 and not is_object(answer.body):
            raise UpstreamFailedError(Fault("upstream_error", Blame.UPSTREAM, "Upstream's answer is no JSON object"))
        thread = thread_of(scope["headers"])
        if thread and answer.refusal is None:
            self._owners.remember(thread, answer.account_id)


def thread_of(headers: list[RawHeader]) -> str:
    """What the thread is known by to owners; empty when the client names none."""
    session = session_of(headers)
    return f"thread:{session}" if session else ""


def is_object(body: bytes) -> bool:
    """Whether a body is a JSON object."""
    try:
        msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def verbatim(query: bytes) -> str:
    """A query with its bytes as they are; those that no URL may hold are quoted."""
    return quote(query, safe=string.punctuation)
