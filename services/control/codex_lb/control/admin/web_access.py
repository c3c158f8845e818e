"""WebAccessService: how people come in with a browser, and who is in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import grpc.aio

from codex_lb.api.admin.v1 import web_access_service_pb2 as pb
from codex_lb.api.admin.v1 import web_access_service_pb2_grpc
from codex_lb.control.admin.permissions import ruled
from codex_lb.control.domain.ids import WebSessionId
from codex_lb.control.domain.web_access import Way, WebSecret, WebSession
from codex_lb.control.errors import InvalidResourceNameError
from codex_lb.control.rpcs.instants import wire_instant
from codex_lb.control.usecases.web_access import WebAccess

COLLECTION = "webSessions/"
SERVICE = pb.DESCRIPTOR.services_by_name["WebAccessService"]
WAY = {Way.BOOTSTRAP: pb.SIGN_IN_WAY_BOOTSTRAP, Way.LINK: pb.SIGN_IN_WAY_LINK}

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"


class WebAccessRpc(web_access_service_pb2_grpc.WebAccessServiceServicer):
    """The face of web sessions. A link in clear is in the answer of its making, and nowhere else."""

    def __init__(self, access: WebAccess, *, url_of: Callable[[WebSecret], str]) -> None:
        self._access = access
        self._url_of = url_of

    @ruled(SERVICE)
    async def CreateSignInLink(self, _request: pb.CreateSignInLinkRequest, _: Context) -> pb.SignInLink:
        """A link, shown once."""
        link, secret = await self._access.new_link()
        return pb.SignInLink(url=self._url_of(secret), expires_at=wire_instant(link.expires_at))

    @ruled(SERVICE)
    async def ListWebSessions(self, _request: pb.ListWebSessionsRequest, _: Context) -> pb.ListWebSessionsResponse:
        """Everybody who is in."""
        return pb.ListWebSessionsResponse(web_sessions=map(web_session, await self._access.sessions()))

    @ruled(SERVICE)
    async def DeleteWebSession(self, request: pb.DeleteWebSessionRequest, _: Context) -> pb.DeleteWebSessionResponse:
        """Nothing: it is over."""
        await self._access.end(session_id(request.name))
        return pb.DeleteWebSessionResponse()


def session_id(name: str) -> WebSessionId:
    """The id in a resource name. Raises InvalidResourceNameError."""
    found = name.removeprefix(COLLECTION)
    if not name.startswith(COLLECTION) or not found:
        raise InvalidResourceNameError("name must have the form webSessions/{session_id}.")
    return WebSessionId(found)


def web_session(session: WebSession) -> pb.WebSession:
    """A session."""
    return pb.WebSession(
        name=f"{COLLECTION}{session.session_id}",
        way=WAY[session.way],
        created_at=wire_instant(session.created_at),
        seen_at=wire_instant(session.seen_at),
        expires_at=wire_instant(session.expires_at),
        address=session.address,
        user_agent=session.user_agent,
    )
