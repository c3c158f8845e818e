"""POST /backend-api/files and POST /backend-api/files/{file_id}/uploaded (data-plane reference 1.15).

The client puts the bytes where upstream says, not here. A file belongs to the account that registered it.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from starlette.types import Scope

from codex_lb.gateway.continuity.owners import Owners
from codex_lb.gateway.errors import NotFoundError
from codex_lb.gateway.leasing.lease import Work
from codex_lb.gateway.routes.forwarding import ANSWER_BYTES_MAX, JSON_ANSWER
from codex_lb.gateway.routes.gate import Admitted
from codex_lb.gateway.routes.reading import Received
from codex_lb.gateway.translate.members import Members, read
from codex_lb.gateway.turn.forward import Answer, Errand, Poll
from codex_lb.gateway.upstream.errand_headers import upload_headers

FILE_BYTES_MAX = 512 * 2**20
BODY_BYTES_MAX = 2**20  # a name, a size and a purpose
CREATE_S = 60.0
FINALISE_S = 60.0  # longer than the polling, so that its last call may end
POLL_EVERY_S = 0.25
POLL_WITHIN_S = 30.0
FILE_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")
JSON = "application/json"


class FileRegistration(msgspec.Struct):
    """What is read of a registration."""

    file_name: Annotated[str, msgspec.Meta(min_length=1)]
    file_size: Annotated[int, msgspec.Meta(ge=1, le=FILE_BYTES_MAX)]
    use_case: str = "codex"


class FileAnswer(msgspec.Struct):
    """What is read of upstream's answers about a file."""

    file_id: object = None
    status: object = None


class FileCreation:
    """Registers a file."""

    methods = frozenset({"POST"})
    body_bytes_max = BODY_BYTES_MAX
    kept_headers = JSON_ANSWER

    def __init__(self, owners: Owners) -> None:
        self._owners = owners

    def errand(self, scope: Scope, received: Received, admitted: Admitted) -> Errand:  # noqa: ARG002 - any key may
        """The registration as it came, its purpose filled in."""
        wanted = read(received.plain, FileRegistration)
        members = read(received.plain, Members)
        body = msgspec.json.encode({**members, "use_case": wanted.use_case})
        return file_errand(received, "/files", body, budget_s=CREATE_S)

    def accept(self, scope: Scope, answer: Answer) -> None:  # noqa: ARG002 - the answer says it
        """From now on the file has an owner."""
        file_id = file_answer(answer.body).file_id
        if answer.refusal is None and isinstance(file_id, str):
            self._owners.remember(f"file:{file_id}", answer.account_id)


class FileFinalisation:
    """Tells upstream that the bytes are there, until it has looked at them."""

    methods = frozenset({"POST"})
    body_bytes_max = BODY_BYTES_MAX
    kept_headers = JSON_ANSWER

    def __init__(self, owners: Owners) -> None:
        self._owners = owners

    def errand(self, scope: Scope, received: Received, admitted: Admitted) -> Errand:  # noqa: ARG002 - any key may
        """By its owner, and nobody else; a file that this replica does not know may be anybody's."""
        file_id: str = scope["path_params"]["file_id"]
        if not FILE_ID.fullmatch(file_id):
            raise NotFoundError("There is no such file")
        owner = self._owners.owner_of(f"file:{file_id}")
        poll = Poll(is_early, every_s=POLL_EVERY_S, within_s=POLL_WITHIN_S)
        return file_errand(received, f"/files/{file_id}/uploaded", b"{}", budget_s=FINALISE_S, owner=owner, poll=poll)

    def accept(self, scope: Scope, answer: Answer) -> None:
        """Whatever upstream found."""


def file_errand(
    received: Received, path: str, body: bytes, *, budget_s: float, owner: str = "", poll: Poll | None = None
) -> Errand:
    """A call about a file."""
    return Errand(
        work=Work.FILE,
        method="POST",
        path=path,
        headers=upload_headers(received.headers),
        accept=JSON,
        content_type=JSON,
        body=body,
        budget_s=budget_s,
        answer_bytes_max=ANSWER_BYTES_MAX,
        preferred_account_id=owner,
        is_bound=bool(owner),
        poll=poll,
    )


def is_early(body: bytes) -> bool:
    """Whether upstream has not finished looking at the file."""
    return file_answer(body).status == "retry"


def file_answer(body: bytes) -> FileAnswer:
    """An answer; one that cannot be read says nothing."""
    try:
        return msgspec.json.decode(body, type=FileAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return FileAnswer()
