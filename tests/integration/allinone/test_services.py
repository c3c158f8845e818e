"""The services in processes of their own, over TCP with a service token."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.system import (
    READY_WITHIN_S,
    Program,
    System,
    a_turn,
    free_port,
    http_client,
    settings_for,
    start_services,
)
from tests.support.upstream import Upstream, hold


@pytest.fixture
async def services(upstream: Upstream, tmp_path: Path) -> AsyncIterator[System]:
    """Control, two gateways and a worker."""
    await upstream.reset(accounts=True)
    async with start_services(upstream, tmp_path, gateways=2) as system:
        yield system


async def test_both_gateways_serve_turns_of_one_pool(services: System) -> None:
    await services.add("ada")

    answers = [await client.post("/v1/responses", json=a_turn()) for client in services.clients]
    status = await services.settled(turns=2)

    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(status.gateways) == 2
    assert await services.upstream.violations() == []


async def test_the_pool_is_run_from_afar_with_the_token_and_not_without(services: System) -> None:
    [ada] = await services.add("ada")
    server, token = services.environment["CODEX_LB_SERVER"], services.environment["CODEX_LB_SERVICE_TOKEN"]

    listed = await services.run("admin", "accounts", "list", "--server", server, "--token", token)
    refused = await services.run("admin", "accounts", "list", "--server", server, "--token", "wrong")

    assert ada.email in listed.out
    assert refused.code == 1
    assert refused.err == "codex-lb: the service token is missing or is not ours\n"


async def test_the_pool_is_run_over_http_too_on_controls_own_port(services: System) -> None:
    [ada] = await services.add("ada")
    url = f"http://{services.environment['CODEX_LB_CONTROL_HTTP_LISTEN']}"
    method = "/api/codex_lb.api.admin.v1.AccountService/ListAccounts"
    token = {"authorization": f"Bearer {services.environment['CODEX_LB_SERVICE_TOKEN']}"}

    async with http_client(url) as http:
        listed = await http.post(method, json={}, headers=token)
        page, lost = await http.get("/"), await http.get("/nowhere")
    at_a_gateway = await services.client.post(method, json={}, headers=token)

    assert [account["email"] for account in listed.json()["accounts"]] == [ada.email]
    assert ("codex-lb is running" in page.text, lost.status_code) == (True, 404)
    assert at_a_gateway.status_code == 404


async def test_a_control_that_other_machines_can_visit_says_how_to_sign_in(upstream: Upstream, tmp_path: Path) -> None:
    port = free_port()
    env = settings_for(upstream, tmp_path / "data") | {
        "CODEX_LB_CONTROL_LISTEN": f"127.0.0.1:{free_port()}",
        "CODEX_LB_CONTROL_HTTP_LISTEN": f"0.0.0.0:{port}",
        "CODEX_LB_LOG_FORMAT": "json",
    }
    control = Program(["control"], env, tmp_path, name="control")
    try:
        control.start()
        await control.says("Sign in from a browser", within_s=READY_WITHIN_S)
    finally:
        await control.end()

    said = [line["event"] for line in map(json.loads, control.log.splitlines())]
    [link] = [event.rpartition(" ")[2] for event in said if event.startswith("Sign in from a browser with this link")]
    assert link.startswith(f"http://127.0.0.1:{port}/auth/sign-in#token=")


async def test_beside_its_data_folder_control_is_found_without_a_token(services: System) -> None:
    status = await services.run("admin", "status", "--data-dir", str(services.data_dir))

    assert status.code == 0
    assert "sqlite" in status.out


async def test_a_stream_outlives_a_killed_control_and_is_recorded_after_its_return(services: System) -> None:
    await services.add("ada")
    await services.upstream.script("ada", hold())

    async with services.client.stream("POST", "/v1/responses", json=a_turn(stream=True)) as answer:
        await services.upstream.wait_for(lambda seen: seen.held == 1)
        await services.control.restart(kill=True)
        await services.upstream.release("ada")
        body = await answer.aread()
    await services.settled(turns=1)

    assert b"event: response.completed" in body
    assert services.query("SELECT outcome FROM turns") == [("completed",)]


async def test_each_service_ends_with_0(services: System) -> None:
    codes = {program.name: await program.stop() for program in reversed(services.programs)}

    assert codes == {"usage-worker": 0, "gateway-2": 0, "gateway-1": 0, "control": 0}


async def test_a_second_control_on_the_same_folder_is_refused(services: System) -> None:
    second = await services.run("control")

    assert second.code == 1
    assert f"is in use by codex-lb with process id {services.control.pid}" in second.err


async def test_a_gateways_taken_port_is_one_sentence(services: System) -> None:
    second = await services.run("gateway", env={"CODEX_LB_PORT": services.base_url.rpartition(":")[2]})

    assert second.code == 1
    assert "another program uses the port" in second.err
    assert "Traceback" not in second.err
