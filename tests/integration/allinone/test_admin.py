"""`codex-lb admin` against a running product."""

from __future__ import annotations

import json
from pathlib import Path

from codex_lb.api.admin.v1 import account_service_pb2 as pb
from tests.support.system import System, a_turn, run_program, settings_for
from tests.support.upstream import Upstream, limit


async def test_an_import_takes_files_folders_and_standard_input_at_once(system: System, tmp_path: Path) -> None:
    folder = tmp_path / "logins"
    folder.mkdir()
    people = [await system.upstream.add_account(name) for name in ("ada", "alan", "grace", "hedy")]
    for account in people[:2]:
        (folder / f"{account.name}.json").write_bytes(account.auth_json)
    (folder / "notes.txt").write_text("not a login")
    (tmp_path / "auth.json").write_bytes(people[2].auth_json)

    imported = await system.run(
        "admin", "accounts", "import", str(folder), str(tmp_path / "auth.json"), "-", stdin=people[3].auth_json
    )

    assert imported.code == 0
    assert imported.out.count("added") == 4
    assert [account.email for account in await system.all_accounts()] == [account.email for account in people]


async def test_a_dry_run_says_what_would_be_done_and_does_nothing(system: System) -> None:
    account = await system.upstream.add_account("ada")

    tried = await system.run("admin", "accounts", "import", "-", "--dry-run", stdin=account.auth_json)

    assert tried.code == 0
    assert "would be added" in tried.out
    assert await system.all_accounts() == []


async def test_a_file_that_is_no_login_is_rejected_by_field_and_the_others_are_added(
    system: System, tmp_path: Path
) -> None:
    account = await system.upstream.add_account("ada")
    (tmp_path / "good.json").write_bytes(account.auth_json)
    (tmp_path / "bad.json").write_text('{"tokens": {"id_token": "x"}}')

    imported = await system.run("admin", "accounts", "import", str(tmp_path))

    assert imported.code == 1
    assert "tokens.access_token is missing" in imported.out
    assert [known.email for known in await system.all_accounts()] == [account.email]


async def test_a_file_that_is_not_there_is_one_sentence(system: System) -> None:
    imported = await system.run("admin", "accounts", "import", "nowhere.json")

    assert imported.code == 1
    assert imported.err.startswith("codex-lb: There is no file nowhere.json.")


async def test_an_account_is_paused_resumed_and_deleted_by_its_email(system: System) -> None:
    [ada, alan] = await system.add("ada", "alan")

    paused = await system.run("admin", "accounts", "pause", ada.email)
    resumed = await system.run("admin", "accounts", "resume", ada.email.upper())
    asked = await system.run("admin", "accounts", "delete", ada.email)
    deleted = await system.run("admin", "accounts", "delete", ada.email, "--yes", "--with-history")

    assert (paused.out, resumed.out) == (f"{ada.email}: paused\n", f"{ada.email}: active\n")
    assert asked.code == 2
    assert "say --yes" in asked.err
    assert deleted.out == f"{ada.email}: deleted\n"
    assert [account.email for account in await system.all_accounts()] == [alan.email]


async def test_what_an_operator_decides_about_an_account_is_set_from_the_terminal(system: System) -> None:
    [ada] = await system.add("ada")

    done = await system.run(
        *("admin", "accounts", "set", ada.email, "--alias", "spare"),
        *("--policy", "burn-first", "--priority", "5", "--stop-at", "80"),
    )
    cleared = await system.run("admin", "accounts", "set", "spare", "--stop-at", "100")
    nothing = await system.run("admin", "accounts", "set", "spare")

    [account] = await system.all_accounts()
    assert (done.out, cleared.out) == ("spare: active\n", "spare: active\n")
    assert (account.alias, account.routing_policy, account.priority) == ("spare", pb.ROUTING_POLICY_BURN_FIRST, 5)
    assert not account.HasField("stop_percent")
    assert nothing.code == 2


async def test_usage_tokens_and_models_are_had_at_once_when_asked_for(system: System) -> None:
    [ada] = await system.add("ada")
    await system.models_known()
    before = await system.account(ada)

    refreshed = await system.run("admin", "accounts", "refresh", ada.email, "--rotate-tokens")
    synced = await system.run("admin", "models", "sync")

    assert refreshed.out == f"{ada.email}: active\n"
    assert synced.out == "Asked for the models of: plus.\n"
    await system.wait_for_account(
        ada, lambda account: account.refreshed_at.ToNanoseconds() > before.refreshed_at.ToNanoseconds()
    )
    assert (await system.upstream.tally("ada")).exchanges == 1
    assert await system.upstream.violations() == []


async def test_all_that_upstream_refused_are_reactivated_and_the_paused_are_not(system: System) -> None:
    [ada, alan] = await system.add("ada", "alan")
    await system.run("admin", "accounts", "pause", alan.email)
    await system.upstream.script("ada", limit(resets_in_s=600))
    await system.client.post("/v1/responses", json=a_turn())
    await system.settled(turns=1)

    reactivated = await system.run("admin", "accounts", "reactivate", "--all")
    again = await system.run("admin", "accounts", "reactivate", "--all")
    unclear = await system.run("admin", "accounts", "reactivate")

    assert reactivated.out == f"{ada.email}: active\n"
    assert again.out == "Nothing to do: no account is refused by upstream.\n"
    assert unclear.code == 2


async def test_an_account_that_is_stuck_is_freed_by_a_probe_that_it_serves(system: System) -> None:
    [ada] = await system.add("ada")
    await system.upstream.script("ada", limit(resets_in_s=600), limit(resets_in_s=900))
    await system.client.post("/v1/responses", json=a_turn())
    await system.settled(turns=1)

    stuck = await system.run("admin", "accounts", "probe", ada.email)
    freed = await system.run("admin", "accounts", "probe", ada.email, "--model", "gpt-5.5", "--json")

    assert stuck.code == 1
    assert stuck.out.startswith(f"{ada.email}: Upstream refused it (usage_limit_reached) until ")
    [answer] = json.loads(freed.out)
    assert (freed.code, answer["outcome"], answer["model"]) == (0, "PROBE_OUTCOME_SERVED", "gpt-5.5")
    assert answer["statusBefore"] == "ACCOUNT_STATUS_RATE_LIMITED"
    assert answer["account"]["status"] == "ACCOUNT_STATUS_ACTIVE"
    assert (await system.client.post("/v1/responses", json=a_turn())).status_code == 200


async def test_a_step_that_control_refuses_is_its_sentence(system: System) -> None:
    [ada] = await system.add("ada")

    refused = await system.run("admin", "accounts", "resume", ada.email)

    assert refused.code == 1
    assert refused.err == "codex-lb: The account is not paused, but active.\n"


async def test_scripts_get_the_admin_apis_json(system: System) -> None:
    [ada] = await system.add("ada")

    listed = await system.run("admin", "accounts", "list", "--json")
    status = await system.run("admin", "status", "--json")

    [account] = json.loads(listed.out)
    assert (account["email"], account["status"]) == (ada.email, "ACCOUNT_STATUS_ACTIVE")
    assert json.loads(status.out)["accountsByStatus"]["active"] == 1


async def test_conversations_are_seen_where_they_are_and_let_go(system: System) -> None:
    await system.add("ada")
    await system.client.post("/backend-api/codex/responses", json=a_turn(stream=True), headers={"session-id": "one"})
    await system.client.post("/backend-api/codex/responses", json=a_turn(stream=True), headers={"session-id": "two"})

    listed = await system.run("admin", "affinities", "list", "--account", "ada@example.com")
    as_json = json.loads((await system.run("admin", "affinities", "list", "--json")).out)
    first = await system.run("admin", "affinities", "purge", as_json[0]["name"].removeprefix("affinities/")[:14])
    rest = await system.run("admin", "affinities", "purge", "--account", "ada@example.com")
    unclear = await system.run("admin", "affinities", "purge")
    unknown = await system.run("admin", "affinities", "purge", "00")

    assert listed.out.count("session id") == 2
    assert (first.out, rest.out) == ("1 forgotten.\n", "1 forgotten.\n")
    assert unclear.code == 2
    assert unknown.err.startswith("codex-lb: There is no affinity 00.")


async def test_an_empty_pool_says_how_to_fill_it(system: System) -> None:
    listed = await system.run("admin", "accounts", "list")

    assert listed.code == 0
    assert "The pool is empty. Import an account:" in listed.out


async def test_no_secret_reaches_the_terminal_or_the_log(system: System) -> None:
    account = await system.upstream.add_account("ada")

    imported = await system.run("admin", "accounts", "import", "-", stdin=account.auth_json)
    listed = await system.run("admin", "accounts", "list", "--json")

    written = imported.out + imported.err + listed.out + system.log
    assert account.access_token not in written
    assert account.refresh_token not in written


async def test_without_control_it_says_how_to_start_it(upstream: Upstream, tmp_path: Path) -> None:
    nobody = await run_program(["admin", "status"], settings_for(upstream, tmp_path / "data"), tmp_path)

    assert nobody.code == 1
    assert nobody.err.startswith("codex-lb: control is not running: nobody listens on")
    assert "Start it with `codex-lb`" in nobody.err


async def test_a_server_that_is_not_there_is_named(upstream: Upstream, tmp_path: Path) -> None:
    env = settings_for(upstream, tmp_path)

    nobody = await run_program(["admin", "status", "--server", "127.0.0.1:1"], env, tmp_path)

    assert nobody.code == 1
    assert nobody.err.startswith("codex-lb: control is not reachable at 127.0.0.1:1.")
