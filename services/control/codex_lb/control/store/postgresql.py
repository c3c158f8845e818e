"""PostgreSQL: one pool of connections, each with a deadline on both sides of the wire."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from codex_lb.control.store.structures import to_json

CONNECT_TIMEOUT_S = 2.0  # a server in another zone, with TLS, takes a tenth of it
ANSWER_GRACE_S = 0.5  # the server ends a statement at its deadline; a server that is gone is given up so much later
IDLE_IN_TRANSACTION_MAX_S = 60.0  # a control that froze in a transaction must not hold rows of the others for ever


def engine_for(url: URL, *, statement_timeout_s: float | None, **pool: Any) -> AsyncEngine:
    """Connects when first used, and anew when a connection turns out to be dead."""
    server_settings = {
        "application_name": "codex-lb control",
        "timezone": "UTC",
        "jit": "off",  # compiling takes longer than any of our statements
        "idle_in_transaction_session_timeout": _ms(IDLE_IN_TRANSACTION_MAX_S),
    }
    connect_args: dict[str, object] = {"timeout": CONNECT_TIMEOUT_S, "server_settings": server_settings}
    if statement_timeout_s is not None:
        server_settings["statement_timeout"] = _ms(statement_timeout_s)
        connect_args["command_timeout"] = statement_timeout_s + ANSWER_GRACE_S
    return create_async_engine(
        url, connect_args=connect_args, hide_parameters=True, json_serializer=to_json, pool_pre_ping=True, **pool
    )


def _ms(seconds: float) -> str:
    return str(int(seconds * 1000))
