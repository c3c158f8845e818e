"""The pages: what they say, and that nothing from elsewhere becomes part of them."""

from __future__ import annotations

import re
from html import escape

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from codex_lb.control.usecases.glance import Glance
from codex_lb.control.web.pages import Pages, nothing_here, render, steps_of

EMPTY = Glance("1.2.3", accounts=0, ready_accounts=0, models=(), turns_running=0)
BUSY = Glance("1.2.3", accounts=3, ready_accounts=2, models=("gpt-x", "gpt-y"), turns_running=7)


def client(glance: Glance = EMPTY) -> httpx.AsyncClient:
    app = Starlette(
        routes=[Route("/", Pages(lambda: glance).first_steps)],
        exception_handlers={404: nothing_here, 405: nothing_here},
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:2455")


def html_of(glance: Glance) -> str:
    return render("first_steps.html", steps_of(glance, origin="http://lb:1"), nonce="n")


def text_of(glance: Glance) -> str:
    return re.sub("<[^>]+>", "", html_of(glance))


def test_the_page_says_how_to_import_and_how_to_set_up_clients() -> None:
    html = text_of(EMPTY)

    assert "codex-lb admin accounts import ~/.codex/auth.json" in html
    assert 'base_url = "http://lb:1/backend-api/codex"' in html
    assert 'base_url="http://lb:1/v1"' in html
    assert "none yet" in html


def test_the_page_shows_the_pool_and_names_a_model_that_it_offers() -> None:
    html = text_of(BUSY)

    assert "2 of 3" in html
    assert 'model = "gpt-x"' in html
    assert "Turns running7" in html


@pytest.mark.parametrize("model", ["<script>alert(1)</script>", '"><img src=x>', "$origin"])
def test_nothing_that_upstream_names_becomes_part_of_the_page(model: str) -> None:
    html = html_of(Glance("1", 1, 1, (model,), 0))

    assert f'model = "{escape(model)}"\n' in html


async def test_the_page_needs_nothing_from_elsewhere_and_allows_nothing_else() -> None:
    async with client() as http:
        answer = await http.get("/")

    policy = answer.headers["content-security-policy"]
    [nonce] = set(re.findall(r"'nonce-([^']+)'", policy))
    assert "default-src 'none'" in policy
    assert f'<script nonce="{nonce}">' in answer.text
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', answer.text)


async def test_a_host_header_that_is_no_host_is_not_repeated() -> None:
    async with client() as http:
        answer = await http.get("/", headers={"host": 'x"onload="y'})

    assert "onload" not in answer.text


async def test_an_api_client_that_missed_the_prefix_is_told_the_base_urls() -> None:
    async with client() as http:
        answer = await http.post("/responses", json={})

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert "http://127.0.0.1:2455/v1 (OpenAI)" in answer.json()["error"]["message"]


async def test_a_browser_that_is_lost_gets_a_page() -> None:
    async with client() as http:
        answer = await http.get("/nowhere", headers={"accept": "text/html,*/*"})

    assert answer.status_code == 404
    assert "There is nothing here" in answer.text
