"""What clients should not send: an answer in their own dialect, final where trying again is no use, never a 500."""

from __future__ import annotations

import gzip
import json

import pytest
import zstandard

from tests.support.pair import Pair
from tests.support.turns import codex_turn

CODEX = "/backend-api/codex/responses"
ROUTES = [CODEX, "/v1/responses"]
GOOD = json.dumps(codex_turn()).encode()


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"not json", None),
        (b"[1,2]", None),
        (b'"text"', None),
        (b'{"input":[]}', "model"),
        (b'{"model":"","input":[]}', "model"),
        (b'{"model":7,"input":[]}', "model"),
        (b'{"model":"m","stream":"yes","input":[]}', "stream"),
        (b"\xff\xfe{}", None),
        (b'{"model":"m","input":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    ],
    ids=str.split("empty cut text list string no-model blank-model number-model stream-text not-utf8 deep"),
)
async def test_a_body_that_cannot_be_used_is_a_400(pair: Pair, route: str, body: bytes, param: str | None) -> None:
    answer = await pair.client.post(route, content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error.get("param") == param
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("br", GOOD),
        ("zstd", GOOD),
        ("gzip", GOOD),
        ("deflate", GOOD),
        ("gzip", gzip.compress(GOOD)[:-9]),
        ("zstd", zstandard.compress(b"\0" * (200 * 2**20))),
        ("gzip", gzip.compress(b"\0" * (40 * 2**20))),
        ("gzip, gzip, gzip, gzip", GOOD),
    ],
    ids=str.split("brotli not-zstd not-gzip not-deflate cut-gzip zstd-bomb gzip-bomb four-layers"),
)
async def test_an_encoding_that_cannot_be_undone_is_a_400(pair: Pair, route: str, encoding: str, body: bytes) -> None:
    answer = await pair.client.post(route, content=body, headers={"content-encoding": encoding})

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_body_over_the_bound_is_final_for_codex(pair: Pair) -> None:
    answer = await pair.client.post(CODEX, content=b" " * (129 * 2**20))

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "payload_too_large"


async def test_unknown_paths_and_methods_answer_in_the_clients_shape(pair: Pair) -> None:
    unknown = await pair.client.get("/v1/nothing-here")
    alias = await pair.client.post("/backend-api/codex/v1/chat/completions", json={})
    method = await pair.client.get("/v1/responses")

    assert [a.status_code for a in (unknown, alias, method)] == [404, 404, 405]
    assert all(a.json()["error"]["type"] == "invalid_request_error" for a in (unknown, alias, method))


@pytest.mark.parametrize("headers", [{"x-forwarded-for": "10.0.0.9"}, {"host": "pool.example"}])
async def test_a_caller_that_is_not_local_is_told_what_to_do(pair: Pair, headers: dict[str, str]) -> None:
    answer = await pair.client.post(CODEX, json=codex_turn(), headers=headers)

    assert answer.status_code == 401
    assert "before remote access is allowed" in answer.json()["error"]["message"]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "file://", "http://[::1"])
async def test_a_page_of_another_site_spends_nothing(pair: Pair, route: str, origin: str) -> None:
    await pair.add("a")
    simple = {"origin": origin, "content-type": "text/plain"}  # what a browser sends without asking first

    answer = await pair.client.post(route, content=GOOD, headers=simple)

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_permissions")
    assert await pair.upstream.turns() == []


async def test_a_page_of_this_machine_is_served(pair: Pair) -> None:
    await pair.add("a")

    answer = await pair.client.post(CODEX, content=GOOD, headers={"origin": "http://localhost:3000"})

    assert answer.status_code == 200
