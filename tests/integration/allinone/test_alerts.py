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


async def test_a_target_is_changed_and_what_is_secret_of_it_is_never_shown(system: System) -> None:
    async with start_receiver() as old, start_receiver() as new:
        added = await system.run("admin", "alerts", "add", "ops", "--url", f"{old.url}/old", "--only", "pool-low")
        moved = await system.run("admin", "alerts", "set", "ops", "--url", "-", stdin=f"{new.url}/new".encode())
        signed = await system.run(
            *("admin", "alerts", "set", "ops", "--name", "night shift", "--secret", "-", "--everything"),
            stdin=b"sign-with-this",
        )
        tested = await system.run("admin", "alerts", "test", "night shift")
        shown = await system.run("admin", "alerts", "targets", "--json")
        nothing = await system.run("admin", "alerts", "set", "night shift")
        wrong = await system.run("admin", "alerts", "set", "night shift", "--form", "slack")

    assert (added.code, moved.out) == (0, "ops: alerts go to 127.0.0.1; told of: pool low\n")
    assert signed.out == "night shift: alerts go to 127.0.0.1; told of: everything\n"
    assert tested.out == "night shift: delivered\n"
    [(path, headers, _)] = new.posts
    assert (path, "x-codex-lb-signature" in headers, old.posts) == ("/new", True, [])
    [target] = json.loads(shown.out)
    assert (target["url"], target["secret"], target["chatId"]) == ("", "", "")
    assert ("/new" in system.log, "sign-with-this" in system.log) == (False, False)
    assert (nothing.code, "Say what to change" in nothing.err) == (2, True)
    assert wrong.err == "codex-lb: kind can be changed only together with url.\n"
