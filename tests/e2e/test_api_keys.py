"""A person gives others keys: the command line, the real Codex CLI and the OpenAI library through the product."""

from __future__ import annotations

import json
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI

from tests.support.codex import Codex
from tests.support.system import System, until


async def ask_for_keys(product: System, *arguments: str) -> str:
    """A new key, and from now on nothing passes without one."""
    made = await product.run("admin", "api-keys", "create", "laptop", *arguments, "--json")
    assert made.code == 0, made.err
    switched = await product.run("admin", "settings", "set", "api_key_auth_enabled=true")
    assert switched.code == 0, switched.err

    async def asks() -> bool:
        return (await product.client.get("/v1/models")).status_code == 401

    await until(asks, what="keys asked for", log=product)
    secret: str = json.loads(made.out)["secret"]
    return secret


async def test_the_openai_library_works_with_a_key_is_refused_without_and_the_key_is_found_in_no_log(
    product: System,
) -> None:
    await product.add("a")
    secret = await ask_for_keys(product)
    url = f"{product.base_url}/v1"

    async with AsyncOpenAI(base_url=url, api_key=secret, max_retries=0) as client:
        answer = await client.responses.create(model="gpt-5.5", input="<<say:hello>>")
    async with AsyncOpenAI(base_url=url, api_key="sk-clb-guess", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.responses.create(model="gpt-5.5", input="hello")
    await product.settled(turns=1)
    shown = await product.run("admin", "api-keys", "list")

    assert answer.output_text == "hello"
    assert "laptop" in shown.out
    assert secret not in product.log
    assert secret.encode() not in product.database.read_bytes()


@pytest.mark.client
@pytest.mark.parametrize("is_websocket", [False, True], ids=["http", "websocket"])
async def test_codex_works_with_a_key_until_its_limit_is_used_up_and_then_says_so_at_once(
    product: System, tmp_path: Path, is_websocket: bool
) -> None:
    await product.add("a")
    secret = await ask_for_keys(product, "--limit", "1 requests/day")
    codex = Codex(tmp_path, product.base_url, is_websocket=is_websocket, key=secret)

    first = await codex.exec("<<say:hello>>")
    await product.settled(turns=1)
    second = await codex.exec("<<say:hello again>>")

    assert (first.code, first.messages) == (0, ["hello"])
    assert second.code != 0
    assert second.messages == []
    assert "usage limit" in " ".join(second.errors)
    assert len(await product.upstream.turns()) == 1
