"""`codex-lb serve` as a user meets it: a process that starts, serves, refuses to start, and ends."""

from __future__ import annotations

import signal
import stat
from pathlib import Path

import anyio
from httpx import Response

from tests.support.system import System, a_turn, free_port, run_program, settings_for, start_all_in_one
from tests.support.upstream import Upstream, hold, limit, ok

DRAIN_WITHIN_S = 10.0
START_WITHIN_S = 2.5
SLOWNESS = 3.0  # tests share the machine with others; the budget itself is for a quiet one


async def test_it_serves_a_turn_of_an_account_imported_from_the_command_line(system: System, tmp_path: Path) -> None:
    account = await system.upstream.add_account("ada")
    file = tmp_path / "auth.json"
    file.write_bytes(account.auth_json)

    imported = await system.run("admin", "accounts", "import", str(file))
    answer = await system.client.post("/v1/responses", json=a_turn("<<say:hello there>>"))
    await system.settled(turns=1)

    assert (imported.code, imported.err) == (0, "")
    assert "added" in imported.out
    assert answer.status_code == 200
    assert answer.json()["output"][-1]["content"][0]["text"] == "hello there"
    assert (await system.upstream.turn()).account == "ada"
    assert await system.upstream.violations() == []
    [[turn_account, input_tokens]] = system.query("SELECT account_id, input_tokens FROM turns")
    assert f"accounts/{turn_account}" == (await system.account(account)).name
    assert input_tokens == answer.json()["usage"]["input_tokens"]


async def test_a_turn_moves_on_and_the_list_shows_who_is_limited(system: System) -> None:
    await system.add("ada", "alan")
    await system.upstream.script("ada", then=limit(resets_in_s=7200))
    await system.upstream.script("alan", then=ok())

    # Each prompt is a conversation of its own and drawn anew; the draw is random: ask until ada has been met.
    answers: list[Response] = []
    while not any(turn.account == "ada" for turn in await system.upstream.turns()):
        answers.append(await system.client.post("/v1/responses", json=a_turn(f"Say hello {len(answers)}")))
    await system.settled(turns=len(answers))
    listed = await system.run("admin", "accounts", "list")

    assert {answer.status_code for answer in answers} == {200}
    [ada] = [line for line in listed.out.splitlines() if "ada@example.com" in line]
    [alan] = [line for line in listed.out.splitlines() if "alan@example.com" in line]
    assert "rate limited in 2 h" in ada
    assert "active" in alan


async def test_every_path_answers_in_the_dialect_of_its_part(system: System) -> None:
    get = system.client.get

    page, health = await get("/"), await get("/health/ready")
    openai, codex = await get("/v1/nothing"), await get("/backend-api/codex/nothing")
    usage, admin = await get("/api/codex/usage"), await get("/api/AccountService/ListAccounts")
    status = await system.client.post("/api/codex_lb.api.admin.v1.SystemService/GetStatus", json={})

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "codex-lb is running" in page.text
    assert health.json()["status"] == "ok"
    assert set(health.json()["checks"]) == {"started", "database", "usage-worker", "gateway"}
    assert {answer.status_code for answer in (openai, codex, admin)} == {404}
    assert {answer.json()["error"]["code"] for answer in (openai, codex)} == {"not_found"}
    assert "rate_limit" in usage.json()
    assert admin.json()["code"] == "unimplemented"
    assert status.json()["database"] == "sqlite"


async def test_everything_it_keeps_is_for_its_owner_only(system: System) -> None:
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in system.data_dir.iterdir()}

    assert stat.S_IMODE(system.data_dir.stat().st_mode) == 0o700
    assert {modes[name] for name in ("control.sock", "web.sock", "store.db", "encryption.key", "codex-lb.lock")} == {
        0o600
    }


async def test_the_banner_says_where_it_serves_and_what_to_do_next(system: System) -> None:
    assert system.base_url in system.control.log
    assert "none yet" in system.control.log
    assert f"admin --data-dir {system.data_dir} accounts import ~/.codex/auth.json" in system.control.log


async def test_a_stop_lets_a_running_turn_finish_and_ends_with_0(system: System) -> None:
    await system.add("ada")
    await system.upstream.script("ada", hold())

    async with system.client.stream("POST", "/v1/responses", json=a_turn(stream=True)) as answer:
        await system.upstream.wait_for(lambda seen: seen.held == 1)
        system.control.signal(signal.SIGTERM)
        await system.control.says("One turn runs")
        await system.upstream.release("ada")
        body = await answer.aread()
    code = await system.control.ended(within_s=DRAIN_WITHIN_S)

    assert b"event: response.completed" in body
    assert code == 0
    assert system.query("SELECT outcome FROM turns") == [("completed",)]


async def test_an_idle_one_ends_with_0_at_ctrl_c_and_leaves_no_socket(system: System) -> None:
    system.control.signal(signal.SIGINT)
    code = await system.control.ended(within_s=DRAIN_WITHIN_S)

    assert code == 0
    assert list(system.data_dir.glob("*.sock")) == []


async def test_a_second_ctrl_c_ends_it_at_once(system: System) -> None:
    await system.add("ada")
    await system.upstream.script("ada", hold())

    with anyio.CancelScope() as hanging_up:
        async with system.client.stream("POST", "/v1/responses", json=a_turn(stream=True)):
            await system.upstream.wait_for(lambda seen: seen.held == 1)
            system.control.signal(signal.SIGINT)
            await system.control.says("One turn runs")
            system.control.signal(signal.SIGINT)
            code = await system.control.ended()
            hanging_up.cancel()

    assert code == 130


async def test_a_killed_one_starts_again_and_knows_its_accounts(system: System) -> None:
    [ada] = await system.add("ada")

    await system.control.restart(kill=True)
    await system.ready()
    answer = await system.client.post("/v1/responses", json=a_turn())

    assert answer.status_code == 200
    assert (await system.account(ada)).plan == "plus"


async def test_a_second_one_on_the_same_folder_names_the_first(system: System) -> None:
    second = await system.run("serve", "--port", str(free_port()), "--data-dir", str(system.data_dir))

    assert second.code == 1
    assert second.err == (
        f"codex-lb: The data folder {system.data_dir} is in use by codex-lb with process id {system.control.pid}."
        " Stop that one, or choose another folder with --data-dir.\n"
    )


async def test_a_taken_port_is_one_sentence_and_nothing_is_created(system: System, tmp_path: Path) -> None:
    port = system.base_url.rpartition(":")[2]

    second = await system.run("serve", "--port", port, "--data-dir", str(tmp_path / "other"))

    assert second.code == 1
    assert second.err.startswith(f"codex-lb: Cannot listen on 127.0.0.1:{port}: another program uses the port.")
    assert second.err.count("\n") == 1
    assert not (tmp_path / "other").exists()


async def test_a_foreign_key_file_is_one_sentence(upstream: Upstream, tmp_path: Path) -> None:
    async with start_all_in_one(upstream, tmp_path) as system:
        await system.control.stop()
        key_file = system.data_dir / "encryption.key"
        key_file.rename(tmp_path / "right.key")
        key_file.write_text("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n")
        key_file.chmod(0o600)
        started = await system.run("serve", "--port", str(free_port()))

    assert started.code == 1
    assert f"codex-lb: The key file {key_file} holds key" in started.err
    assert "Traceback" not in started.err


async def test_a_newer_database_is_one_sentence(upstream: Upstream, tmp_path: Path) -> None:
    async with start_all_in_one(upstream, tmp_path) as system:
        await system.control.stop()
        system.change("UPDATE alembic_version SET version_num = 'from_the_future'")
        started = await system.run("serve", "--port", str(free_port()))

    assert started.code == 1
    assert "codex-lb: The database is newer than this version of codex-lb" in started.err
    assert "Traceback" not in started.err


async def test_a_data_folder_that_is_a_file_is_one_sentence(upstream: Upstream, tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()

    started = await run_program(
        ["--port", str(free_port()), "--data-dir", str(taken)], settings_for(upstream, taken), tmp_path
    )

    assert started.code == 1
    assert (
        started.err
        == f"codex-lb: The data folder {taken} cannot be used: file exists. Choose another with --data-dir.\n"
    )


async def test_a_wrong_setting_is_named(upstream: Upstream, tmp_path: Path) -> None:
    env = settings_for(upstream, tmp_path) | {"CODEX_LB_UPSTREAM_STREAM_TRANSPORT": "pigeon"}

    started = await run_program(["serve", "--port", str(free_port())], env, tmp_path)

    assert started.code == 1
    assert "CODEX_LB_UPSTREAM_STREAM_TRANSPORT is 'pigeon'" in started.err


async def test_a_folder_with_a_very_long_path_serves_and_is_administered_too(
    upstream: Upstream, tmp_path: Path
) -> None:
    deep = tmp_path / ("deep" * 20) / ("deeper" * 20)
    deep.mkdir(parents=True)
    async with start_all_in_one(upstream, deep) as system:
        status = await system.run("admin", "status")
        await system.control.stop()

    assert status.code == 0
    assert "sqlite" in status.out


async def test_it_serves_within_its_budget_once_it_is_warm(system: System) -> None:
    await system.control.stop()

    with anyio.fail_after(START_WITHIN_S * SLOWNESS):
        system.control.start()
        await system.ready()
