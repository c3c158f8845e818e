"""The composition root: every part of the simulator, made once, top to bottom."""

from typing import Final

from aiohttp import web

from tests.support.simulator import faults
from tests.support.simulator.accounts import Accounts
from tests.support.simulator.bodies import BODY_BYTES_MAX
from tests.support.simulator.control import Control
from tests.support.simulator.echoes import Echoes
from tests.support.simulator.gate import Gate
from tests.support.simulator.journal import Journal, Recording
from tests.support.simulator.lines import Lines
from tests.support.simulator.oauth import Issuer
from tests.support.simulator.pages import Pages
from tests.support.simulator.reception import Reception
from tests.support.simulator.responses import Responses
from tests.support.simulator.signin import SignIn
from tests.support.simulator.turn import Turns
from tests.support.simulator.uploads import Uploads
from tests.support.simulator.websocket import Sockets

_RESPONSES: Final = "/backend-api/codex/responses"
_ECHOED: Final = (
    "codex/thread/goal/get", "codex/thread/goal/set", "codex/thread/goal/clear", "codex/analytics-events/events",
    "codex/memories/trace_summarize", "codex/safety/arc", "codex/alpha/search", "codex/agent-identities/jwks",
    "wham/agent-identities/jwks",
)  # fmt: skip


def build_app() -> web.Application:
    """Ready to serve; all state lives in here."""
    accounts = Accounts()
    issuer = Issuer()
    journal = Journal()
    gate = Gate(lambda account, change: journal.count(account, held=change))
    lines = Lines()
    reception = Reception(accounts, issuer, journal, gate, lines)
    turns = Turns(accounts, journal, gate)
    sign_in = SignIn(reception, issuer, accounts, journal)
    pages = Pages(reception, journal)
    uploads = Uploads(reception)
    echo = reception.recorded("codex_control", Echoes(reception).echo)
    recorded = reception.recorded

    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_routes(
        [
            web.post(_RESPONSES, recorded("responses", Responses(reception, turns).create)),
            web.get(_RESPONSES, recorded("handshake", Sockets(reception, turns, journal).open), allow_head=False),
            web.get("/backend-api/codex/models", recorded("models", pages.models), allow_head=False),
            web.get("/backend-api/wham/usage", recorded("usage", pages.usage), allow_head=False),
            web.post("/backend-api/transcribe", recorded("transcribe", uploads.transcribe)),
            web.post("/backend-api/files", recorded("files", uploads.create)),
            web.post("/backend-api/files/{file_id}/uploaded", recorded("files", uploads.uploaded)),
            *(web.route("*", f"/backend-api/{path}", echo) for path in _ECHOED),
            web.post("/oauth/token", recorded("token", sign_in.token)),
            web.get("/oauth/authorize", recorded("authorize", sign_in.authorize), allow_head=False),
            web.post("/api/accounts/deviceauth/usercode", recorded("device", sign_in.device_code)),
            web.post("/api/accounts/deviceauth/token", recorded("device", sign_in.device_token)),
            *Control(accounts, issuer, journal, gate, lines, sign_in).routes(),
            web.route("*", "/{elsewhere:.*}", recorded("unknown", _unknown)),
        ]
    )
    return app


async def _unknown(request: web.Request, recording: Recording) -> web.StreamResponse:
    """Nothing that upstream offers."""
    recording.body = await request.read()
    raise faults.RefusedError(faults.detail("Not Found", 404))
