"""How somebody on another machine is told how to get in: in one line on standard output that says what it is.

The link is as good as a password until it is used, so it is never in the log.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from codex_lb.kit.clock import Clock
from codex_lb.kit.sockets import is_loopback

CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))  # what Docker and Podman put there


def how_to_sign_in(sign_in_link: str | None, url: str) -> str:
    """The line. Without a link, the environment fixes the token, and whoever set it knows it."""
    if sign_in_link is None:
        return f"Sign in from a browser at {url}/auth/sign-in with the token in CODEX_LB_DASHBOARD_BOOTSTRAP_TOKEN."
    return f"Sign in from a browser with this link, which works once: {sign_in_link}"


def is_reachable(host: str, *, marks: Sequence[Path] = CONTAINER_MARKS) -> bool:
    """Whether other machines may reach what listens there. To a container, even its own host is another machine."""
    return not is_loopback(host) or is_container(marks)


def is_container(marks: Sequence[Path] = CONTAINER_MARKS) -> bool:
    """Whether this runs in one."""
    return any(mark.exists() for mark in marks)


def json_line(clock: Clock, event: str, **fields: str | int) -> str:
    """What is said to machines, in the form of the log."""
    line = {"timestamp": clock.now().isoformat(), "level": "info", "event": event, **fields}
    return json.dumps(line, ensure_ascii=False) + "\n"
