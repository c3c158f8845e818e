"""`codex-lb check`, `migrate` and `version`."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from tests.support.system import System, run_program, settings_for
from tests.support.upstream import Upstream


async def test_beside_a_running_product_everything_is_well(system: System) -> None:
    checked = await system.run("check")

    verdicts = [line.split()[0] for line in checked.out.splitlines()]
    assert checked.code == 0
    assert verdicts == ["ok"] * 7
    assert f"in use by process {system.control.pid}" in checked.out


async def test_before_the_first_start_nothing_is_wrong_and_nothing_is_created(
    upstream: Upstream, tmp_path: Path
) -> None:
    checked = await run_program(["check"], settings_for(upstream, tmp_path / "data"), tmp_path)

    assert checked.code == 0
    assert checked.out.count("the first start makes it") == 3
    assert "not running; `codex-lb` starts it" in checked.out
    assert not (tmp_path / "data").exists()


async def test_a_wrong_setting_ends_the_check_with_its_name(upstream: Upstream, tmp_path: Path) -> None:
    env = settings_for(upstream, tmp_path) | {"CODEX_LB_PORT": "http"}

    checked = await run_program(["check"], env, tmp_path)

    assert checked.code == 1
    assert "CODEX_LB_PORT is 'http'" in checked.out


async def test_an_upstream_that_does_not_answer_is_wrong(upstream: Upstream, tmp_path: Path) -> None:
    env = settings_for(upstream, tmp_path) | {"CODEX_LB_UPSTREAM_BASE_URL": "http://127.0.0.1:1"}

    checked = await run_program(["check"], env, tmp_path)

    assert checked.code == 1
    assert "http://127.0.0.1:1/codex/models does not answer" in checked.out


async def test_a_key_that_is_not_the_stored_logins_is_wrong(system: System) -> None:
    await system.control.stop()
    (system.data_dir / "encryption.key").unlink()

    checked = await system.run("check")

    assert checked.code == 1
    assert "encryption.key is missing" in checked.out


async def test_a_database_is_migrated_once(upstream: Upstream, tmp_path: Path) -> None:
    env = settings_for(upstream, tmp_path / "data")

    first, second = [await run_program(["migrate"], env, tmp_path) for _ in range(2)]

    assert (first.code, second.code) == (0, 0)
    assert first.out.startswith("Migrated from nothing to ")
    assert second.out.startswith("Nothing to do: ")


async def test_a_database_in_use_is_not_migrated(system: System) -> None:
    tried = await system.run("migrate")

    assert tried.code == 1
    assert f"is in use by codex-lb with process id {system.control.pid}" in tried.err


async def test_the_version_is_the_distributions(upstream: Upstream, tmp_path: Path) -> None:
    env = settings_for(upstream, tmp_path)

    said = {(await run_program([how], env, tmp_path)).out for how in ("version", "--version")}

    assert said == {f"codex-lb {version('codex-lb')}\n"}


async def test_a_command_that_does_not_exist_is_a_usage_error(upstream: Upstream, tmp_path: Path) -> None:
    said = await run_program(["fly"], settings_for(upstream, tmp_path), tmp_path)

    assert said.code == 2
    assert "No such command 'fly'" in said.err
