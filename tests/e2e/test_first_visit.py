"""A person starts the product for others: signs in from another machine, makes a key, lets clients in, and leaves."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.system import System, a_turn, start_all_in_one, until
from tests.support.upstream import Upstream

ADMIN = "/api/codex_lb.api.admin.v1."
LINK = re.compile(r"Sign in from a browser with this link, which works once: ([^\s\"]+)")
ELSEWHERE = {"host": "pool.example.test:2455"}  # to the product, whoever asks for that name is on another machine


@pytest.fixture(params=["text", "json"])
def log_format(request: pytest.FixtureRequest) -> str:
    """How the product writes."""
    return str(request.param)


@pytest.fixture
async def product(upstream: Upstream, tmp_path: Path, log_format: str) -> AsyncIterator[System]:
    """`codex-lb serve` where other machines can reach it."""
    await upstream.reset(accounts=True)
    env = {
        "CODEX_LB_HOST": "0.0.0.0",
        "CODEX_LB_LOG_FORMAT": log_format,
        "CODEX_LB_LOG_LEVEL": "DEBUG",
        "COLUMNS": "60",
    }
    async with start_all_in_one(upstream, tmp_path, env=env) as system:
        yield system


class Browser:
    """What the pages do, without a browser."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.csrf = "1"

    async def post(self, path: str, message: object) -> httpx.Response:
        """As a page of ours sends it."""
        origin = f"http://{ELSEWHERE['host']}"
        return await self.client.post(path, json=message, headers={"x-codex-lb-csrf": self.csrf, "origin": origin})

    async def follow(self, link: str) -> httpx.Response:
        """Opens a sign-in link."""
        parts = urlsplit(link)
        assert (await self.client.get(parts.path)).status_code == 200
        answer = await self.post(parts.path, {"token": parts.fragment.removeprefix("token=")})
        if answer.is_success:
            self.csrf = answer.json()["csrf"]
        return answer


async def test_the_first_visitor_lets_clients_in_and_the_link_and_cookie_are_in_no_log(
    product: System, log_format: str
) -> None:
    await product.add("ada")
    [link] = LINK.findall(product.log)
    async with httpx.AsyncClient(base_url=product.base_url, headers=ELSEWHERE) as client:
        browser = Browser(client)

        stranger = await client.get("/")
        turned_away = await client.post("/v1/responses", json=a_turn())
        signed_in = await browser.follow(link)
        page = await client.get("/")
        made = await browser.post(f"{ADMIN}ApiKeyService/CreateApiKey", {"apiKey": {"displayName": "laptop"}})
        asking = {"settings": {"apiKeyAuthEnabled": True}, "updateMask": "apiKeyAuthEnabled"}
        asked = await browser.post(f"{ADMIN}SettingsService/UpdateSettings", asking)
        cookie = client.cookies["codex_lb_session"]
    secret = made.json()["secret"]
    headers = {**ELSEWHERE, "authorization": f"Bearer {secret}"}

    async with httpx.AsyncClient(base_url=product.base_url, headers=headers) as laptop:

        async def is_served() -> bool:
            return (await laptop.post("/v1/responses", json=a_turn())).status_code == 200

        await until(is_served, what="a turn from another machine", log=product)
        as_admin = await laptop.post(f"{ADMIN}SystemService/GetStatus", json={})

    assert ("Accounts ready" in stranger.text, "codex-lb admin sign-in-link" in stranger.text) == (False, True)
    assert (turned_away.status_code, "codex-lb admin sign-in-link" in turned_away.text) == (401, True)
    assert (signed_in.status_code, made.status_code, asked.status_code) == (200, 200, 200)
    assert "Make a key" in page.text
    assert as_admin.status_code == 401  # a client's key opens nothing else
    token = link.partition("token=")[2]
    assert [line for line in product.log.splitlines() if token in line] == [
        line for line in product.log.splitlines() if LINK.search(line)
    ]
    assert (cookie in product.log, secret in product.log) == (False, False)
    if log_format == "json":
        assert all(json.loads(line)["event"] for line in product.control.log.splitlines() if line)


async def test_who_is_out_finds_a_way_back_in_on_the_host(product: System) -> None:
    [link] = LINK.findall(product.log)
    async with httpx.AsyncClient(base_url=product.base_url, headers=ELSEWHERE) as client:
        browser = Browser(client)
        await browser.follow(link)
        listed = await product.run("admin", "web-sessions", "list", env={"COLUMNS": "200"})
        ended = await product.run("admin", "web-sessions", "end", "--all")
        out = await browser.post(f"{ADMIN}SystemService/GetStatus", {})
        used = await Browser(client).follow(link)
        given = await product.run("admin", "sign-in-link")
        back = Browser(client)
        again = await back.follow(given.out.splitlines()[0])
        status = await back.post(f"{ADMIN}SystemService/GetStatus", {})
        left = await back.post("/auth/sign-out", {})
        gone = await back.post(f"{ADMIN}SystemService/GetStatus", {})

    assert ("first visit" in listed.out, "signed out" in ended.out) == (True, True)
    assert (out.status_code, used.status_code) == (401, 401)
    assert (again.status_code, status.status_code, left.status_code, gone.status_code) == (200, 200, 200, 401)

    await product.control.restart()
    await product.ready()
    links = LINK.findall(product.log)
    assert (len(links), links[0] == links[1]) == (2, False)  # used, it is made anew
