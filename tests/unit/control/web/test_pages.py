"""The pages: what they say, and that nothing from elsewhere becomes part of them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from html import escape

import httpx
import pytest
from starlette.applications import Starlette

from codex_lb.control.domain.ids import WebSessionId
from codex_lb.control.domain.web_access import Way, WebSecret, WebSession
from codex_lb.control.usecases.glance import Glance
from codex_lb.control.web.pages import nothing_here, page, render, steps_of
from codex_lb.control.web.visitors import Local, SignedIn, Visitor
from tests.support.clock import NOON

EMPTY = Glance("1.2.3", accounts=0, ready_accounts=0, models=(), turns_running=0, api_keys=0, asks_for_keys=False)
BUSY = replace(
    EMPTY, accounts=3, ready_accounts=2, models=("gpt-x", "gpt-y"), turns_running=7, api_keys=5, asks_for_keys=True
)


@pytest.fixture
async def lost() -> AsyncIterator[httpx.AsyncClient]:
    """Somebody at an address where there is nothing."""
    app = Starlette(routes=[], exception_handlers={404: nothing_here})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:2455") as client:
        yield client


def html_of(glance: Glance, visitor: Visitor = Local()) -> str:  # noqa: B008 - it has nothing in it
    return render("first_steps.html", steps_of(glance, visitor, origin="http://lb:1"), nonce="n")


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
    html = html_of(replace(BUSY, models=(model,)))

    assert f'model = "{escape(model)}"\n' in html


def test_whoever_signed_in_can_sign_out_and_their_pages_know_the_word_of_their_session() -> None:
    secret = WebSecret("of a cookie")
    session = WebSession(WebSessionId("web_1"), secret.digest, Way.LINK, NOON, NOON, "", "")

    html, local = html_of(EMPTY, SignedIn(session, secret)), html_of(EMPTY)

    assert f'data-csrf="{secret.csrf}"' in html
    assert 'id="leave" type="button" class=""' in html
    assert 'id="leave" type="button" class="absent"' in local
    assert secret.text not in html


@pytest.mark.parametrize("name", ["first_steps.html", "stranger.html", "sign_in.html", "message.html"])
def test_a_page_needs_nothing_from_elsewhere_and_allows_nothing_else(name: str) -> None:
    answer = page(name, steps_of(EMPTY, Local(), origin="http://lb:1") | {"text": "words"})

    html, policy = bytes(answer.body).decode(), answer.headers["content-security-policy"]
    [nonce] = set(re.findall(r"'nonce-([^']+)'", policy))
    assert "default-src 'none'" in policy
    assert (html.count(f'<script nonce="{nonce}">'), html.count(f'<style nonce="{nonce}">')) == (1, 1)
    assert not re.findall(r'(?:src|href)="(?:https?:)?//|@import|url\(', html)
    assert not re.findall(r" on\w+=| style=", html)  # the policy would ignore them


async def test_a_host_header_that_is_no_host_is_not_repeated(lost: httpx.AsyncClient) -> None:
    answer = await lost.get("/", headers={"host": 'x"onload="y'})

    assert "onload" not in answer.text


async def test_an_api_client_that_missed_the_prefix_is_told_the_base_urls(lost: httpx.AsyncClient) -> None:
    answer = await lost.post("/responses", json={})

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert "http://127.0.0.1:2455/v1 (OpenAI)" in answer.json()["error"]["message"]


async def test_a_browser_that_is_lost_gets_a_page(lost: httpx.AsyncClient) -> None:
    answer = await lost.get("/<b>", headers={"accept": "text/html,*/*"})

    assert answer.status_code == 404
    assert "There is nothing here" in answer.text
    assert "<b>" not in answer.text
