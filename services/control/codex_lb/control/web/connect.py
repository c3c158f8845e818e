"""The admin API over HTTP, in the Connect protocol's unary form: a POST of JSON per call.

Translation only: the methods are those that gRPC calls. What differs is who may call at all, which the doorman tells.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

import anyio
import structlog
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode
from starlette.requests import Request
from starlette.responses import Response

from codex_lb.api.admin.v1 import options_pb2
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.control.admin.faces import Face
from codex_lb.control.admin.permissions import HttpCaller, Rule, require, rules_of
from codex_lb.control.web import connect_wire as wire
from codex_lb.control.web.body import check_json, read_body
from codex_lb.control.web.doorman import Doorman
from codex_lb.control.web.refusals import RefusedError, answered
from codex_lb.control.web.visitors import Stranger, Visitor, granted, name_of
from codex_lb.kit.rpc_errors import RpcFailure
from codex_lb.kit.rpc_server import unforeseen

PREFIX = "/api/"
PROTOCOL = "1"  # the version of Connect
BODY_BYTES_MAX = 16 * 2**20  # as much as a gRPC message may have; imports of many logins are the largest
CALL_WITHIN_S_MAX = 120.0  # a probe waits for a worker for most of a minute; nothing takes longer
SIGN_IN_FIRST = (
    "Sign in first: on the machine that runs codex-lb, `codex-lb admin sign-in-link` prints a link that works once. Programs"
    " send the service token (CODEX_LB_SERVICE_TOKEN) as Authorization: Bearer."
)

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Procedure:
    """A method of the admin API, as it is called over HTTP."""

    name: str  # such as codex_lb.api.admin.v1.AccountService/ListAccounts
    rule: Rule
    request: type[Message]
    behaviour: Callable[[Message, HttpCaller], Awaitable[Message]]


class Connect:
    """The endpoint for everything below /api."""

    def __init__(self, faces: Iterable[Face], doorman: Doorman) -> None:
        self._procedures = procedures_of(faces)
        self._doorman = doorman

    async def call(self, request: Request) -> Response:
        """One call, or why it is none."""
        return await answered(request, self._call(request))

    async def _call(self, request: Request) -> Response:
        procedure = self._procedure(request)
        visitor = await self._doorman.visitor(request)
        self._check(procedure, request, visitor)
        body = await read_body(request, bytes_max=BODY_BYTES_MAX)
        answer = await self._answer(procedure, request, visitor, body)
        return Response(wire.write_message(answer), media_type=wire.JSON)

    def _procedure(self, request: Request) -> Procedure:
        """What is called. Raises RefusedError."""
        path: str = request.scope["path"]  # not of a URL, into which Host goes as it was sent
        procedure = self._procedures.get(path.removeprefix(PREFIX))
        if procedure is None:
            raise RefusedError(404, StatusCode.UNIMPLEMENTED, f"There is no method at {path[:200]}.")
        if request.method != "POST":
            raise RefusedError(405, StatusCode.UNIMPLEMENTED, "The admin API takes POST only.", allow="POST")
        check_json(request)
        return procedure

    def _check(self, procedure: Procedure, request: Request, visitor: Visitor) -> None:
        """Raises RpcFailure, before anything of the body is read."""
        if isinstance(visitor, Stranger):
            raise RpcFailure(reasons_pb2.ERROR_REASON_SIGN_IN_REQUIRED, SIGN_IN_FIRST)
        require(procedure.rule, granted(visitor))
        if procedure.rule.permission != options_pb2.PERMISSION_READ:
            self._doorman.check_page(request, visitor)
        if request.headers.get("connect-protocol-version", PROTOCOL) != PROTOCOL:
            raise wire.invalid(f"connect-protocol-version must be {PROTOCOL}.")

    async def _answer(self, procedure: Procedure, request: Request, visitor: Visitor, body: bytes) -> Message:
        message = wire.read_message(procedure.request, body)
        within_s = wire.read_timeout_s(request.headers.get("connect-timeout-ms", ""), timeout_s_max=CALL_WITHIN_S_MAX)
        address = str(self._doorman.address_of(request.scope))
        told = log.bind(method=procedure.name, by=name_of(visitor), address=address)
        answer: Message | None = None
        why = "it took too long"
        try:
            with anyio.move_on_after(within_s):
                answer = await procedure.behaviour(message, HttpCaller(granted(visitor)))
        except RpcFailure as failure:
            why = reasons_pb2.ErrorReason.Name(failure.reason)
            raise
        except Exception as error:
            why = "something went wrong"
            raise unforeseen(error, procedure.name) from error
        finally:
            if procedure.rule.audit != options_pb2.AUDIT_CLASS_NONE:
                told.info("admin call") if answer is not None else told.info("admin call failed", why=why)
        if answer is None:
            raise RefusedError(504, StatusCode.DEADLINE_EXCEEDED, f"This took longer than {within_s:g} seconds.")
        return answer


def procedures_of(faces: Iterable[Face]) -> Mapping[str, Procedure]:
    """Every method of every service, by the path it is called at."""
    found = {}
    for face in faces:
        rules = rules_of(face.service)
        for method in face.service.methods:
            name = f"{face.service.full_name}/{method.name}"
            behaviour = getattr(face.servicer, method.name)
            found[name] = Procedure(name, rules[method.name], GetMessageClass(method.input_type), behaviour)
    return found
