"""`codex-lb admin alerts` against a running product, and somebody who is told."""

from __future__ import annotations

import json

from tests.support.system import System
from tests.support.webhook import start_receiver


async def test_a_target_is_added_tried_out_and_removed(system: System) -> None:
    async with start_receiver() as receiver:
        added = await system.run(
            "admin", "alerts", "add", "ops", "--form", "slack", stdin=f"{receiver.url}/T/B".encode()
        )
        listed = await system.run("admin", "alerts", "targets")
        tested = await system.run("admin", "alerts", "test", "ops")
        receiver.status = 404
        failed = await system.run("admin", "alerts", "test", "ops")
        shown = await system.run("admin", "alerts", "list")
        removed = await system.run("admin", "alerts", "remove", "ops")
        unknown = await system.run("admin", "alerts", "test", "ops")

    assert (added.code, added.out) == (0, "ops: alerts go to 127.0.0.1\n")
    assert "127.0.0.1" in listed.out
    assert "/T/B" not in listed.out
    assert (tested.code, tested.out) == (0, "ops: delivered\n")
    assert (failed.code, failed.out) == (1, "ops: given up after 1 try: telling of an alert: HTTP 404 was answered\n")
    assert "codex-lb can reach you" in shown.out
    assert removed.out == "ops: removed\n"
    assert unknown.err.startswith("codex-lb: There is no alert target ops.")
    path, _, body = receiver.posts[0]
    assert (path, list(json.loads(body))) == ("/T/B", ["text"])
