"""What `codex-lb serve` says when it serves, and when it stops."""

from __future__ import annotations

import io
import json
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from codex_lb.allinone.banner import JsonVoice, Serving, Voice, _container, farewell
from codex_lb.allinone.invitation import is_reachable
from tests.support.clock import FakeClock

ADMIN = "codex-lb admin"


LINK = "http://127.0.0.1:2455/auth/sign-in#token=" + "t" * 43


def is_elsewhere(host: str) -> bool:
    return host == "0.0.0.0"


def said(serving: Serving, *, width: int = 160) -> str:
    written = io.StringIO()
    Voice(Console(file=written, width=width), admin_command=ADMIN, is_reachable=is_elsewhere).serving(serving)
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


def test_who_listens_for_other_machines_is_given_a_link_in_one_line_however_narrow_the_terminal_is() -> None:
    serving = Serving("0.0.0.0", 2455, Path("/data"), accounts=0, sign_in_link=LINK)

    text = said(serving, width=40)

    assert [line for line in text.splitlines() if LINK in line] == [
        f"  Sign in from a browser with this link, which works once: {LINK}"
    ]
    assert "/auth/sign-in" not in said(replace(serving, host="127.0.0.1"))


def test_a_token_that_the_environment_fixes_is_not_repeated() -> None:
    text = said(Serving("0.0.0.0", 2455, Path("/data"), accounts=0))

    assert "http://127.0.0.1:2455/auth/sign-in with the token in CODEX_LB_DASHBOARD_BOOTSTRAP_TOKEN" in text


def test_to_machines_it_says_the_same_in_lines_of_json() -> None:
    written = io.StringIO()
    voice = JsonVoice(written, FakeClock(), is_reachable=is_elsewhere)

    voice.serving(Serving("0.0.0.0", 2455, Path("/data"), accounts=3, sign_in_link=LINK))
    voice.draining(0, within_s=30)

    serving, link, draining = map(json.loads, written.getvalue().splitlines())
    assert (serving["event"], serving["address"], serving["accounts"]) == ("serving", "http://127.0.0.1:2455", 3)
    assert link["event"] == f"Sign in from a browser with this link, which works once: {LINK}"
    assert draining["event"] == "Stopping."


def test_what_listens_beyond_loopback_or_in_a_container_can_be_reached(tmp_path: Path) -> None:
    mark = tmp_path / ".dockerenv"

    assert is_reachable("0.0.0.0", marks=[mark])
    assert not is_reachable("127.0.0.1", marks=[mark])
    mark.touch()
    assert is_reachable("127.0.0.1", marks=[mark])


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
