"""What `codex-lb serve` says when it serves, and when it stops."""

from __future__ import annotations

import io
import re
import socket
from pathlib import Path

import pytest
from rich.console import Console

from codex_lb.allinone.banner import Serving, Voice, _container, farewell

ADMIN = "codex-lb admin"


def said(serving: Serving) -> str:
    written = io.StringIO()
    Voice(Console(file=written, width=160), admin_command=ADMIN).serving(serving)
    return written.getvalue()


def test_the_banner_says_address_data_accounts_and_how_to_point_clients_at_it() -> None:
    text = said(Serving("127.0.0.1", 2455, Path("/home/me/.codex-lb"), accounts=3))

    assert re.search("Address +http://127.0.0.1:2455 *\n", text)
    assert "/home/me/.codex-lb" in text
    assert 'base_url = "http://127.0.0.1:2455/backend-api/codex"' in text
    assert 'base_url = "http://127.0.0.1:2455/v1"' in text
    assert "codex-lb admin accounts list" in text
    assert "import" not in text


def test_with_an_empty_pool_the_next_step_is_to_import_an_account() -> None:
    text = said(Serving("127.0.0.1", 2455, Path("/data"), accounts=0))

    assert "none yet" in text
    assert "codex-lb admin accounts import ~/.codex/auth.json" in text


def test_who_listens_for_other_machines_is_told_that_they_are_refused() -> None:
    text = said(Serving("0.0.0.0", 2455, Path("/data"), accounts=1))

    assert "Other machines can connect, and are refused until they have an API key" in text
    assert "codex-lb admin api-keys create NAME" in text
    assert "codex-lb admin settings set api_key_auth_enabled=true" in text
    assert "CODEX_LB_PROXY_UNAUTHENTICATED_CLIENT_CIDRS" in text
    assert "CIDRS" not in said(Serving("127.0.0.1", 2455, Path("/data"), accounts=1))


def test_where_keys_are_asked_for_nobody_is_told_that_they_are_refused() -> None:
    text = said(Serving("0.0.0.0", 2455, Path("/data"), accounts=1, asks_for_keys=True))

    assert "refused" not in text
    assert "Other machines can connect with an API key" in text


def test_in_a_container_the_commands_are_those_that_work_from_its_host(tmp_path: Path) -> None:
    mark = tmp_path / ".dockerenv"

    assert _container([mark]) == ""
    mark.touch()
    assert _container([mark]) == f"docker exec {socket.gethostname()} "


@pytest.mark.parametrize(
    ("turns", "within_s", "text"),
    [
        (0, 1800, "Stopping."),
        (1, 1800, "One turn runs and has up to 30 minutes to finish. Press Ctrl-C again to end at once."),
        (3, 45, "3 turns run and have up to 45 seconds to finish. Press Ctrl-C again to end at once."),
    ],
)
def test_a_stop_says_what_it_waits_for(turns: int, within_s: float, text: str) -> None:
    assert farewell(turns, within_s=within_s) == text
