"""The small calls that are no turns: forwarded as they are, moved when an account fails, bounded."""

from __future__ import annotations

import asyncio
from io import BytesIO

import httpx
import msgspec
import pytest
from openai import AsyncOpenAI

from codex_lb.api.admin.v1.account_service_pb2 import (
    ACCOUNT_STATUS_ACTIVE,
    ACCOUNT_STATUS_RATE_LIMITED,
    ACCOUNT_STATUS_REAUTH_REQUIRED,
)
from tests.support.pair import Pair
from tests.support.simulator.record import Echo
from tests.support.upstream import Step, hang_headers, html, http, limit, overloaded, rate_limited, refuse, unauthorized

TRANSCRIBE = "/backend-api/transcribe"
FILES = "/backend-api/files"
GOAL = "/backend-api/codex/thread/goal"
SEARCH = "/backend-api/codex/alpha/search"
AUDIO = {"file": ("a.wav", b"RIFF\r\n\x00\xff", "audio/wav")}
REGISTRATION = {"file_name": "a.txt", "file_size": 3, "more": {"kept": 1}}

CONTROL = [
    ("GET", f"{GOAL}/get"),
    ("POST", f"{GOAL}/get"),
    ("POST", f"{GOAL}/set"),
    ("POST", f"{GOAL}/clear"),
    ("POST", "/backend-api/codex/analytics-events/events"),
    ("POST", "/backend-api/codex/memories/trace_summarize"),
    ("POST", "/backend-api/codex/safety/arc"),
    ("POST", SEARCH),
    ("GET", "/backend-api/codex/agent-identities/jwks"),
    ("GET", "/backend-api/wham/agent-identities/jwks"),
]
MOVED: dict[str, Step] = {
    "429 usage limit": limit(resets_in_s=3600),
    "429 rate limit": rate_limited(retry_after_s=30),
    "401": unauthorized(),
    "503 overloaded": overloaded(),
    "500": http(500, "server_error"),
    "challenge page": html(403),
    "no answer": refuse(),
}


def echo_of(answer: httpx.Response) -> Echo:
    return msgspec.json.decode(answer.content, type=Echo)


@pytest.mark.parametrize(("method", "path"), CONTROL)
async def test_a_small_codex_call_travels_as_it_is(pair: Pair, method: str, path: str) -> None:
    await pair.add("a")
    body = b'{ "z": 1,\t"big":12345678901234567890 }' if method == "POST" else b""

    answer = await pair.client.request(
        method, f"{path}?a=%2F+%20b&&c=d%zz", content=body, headers={"content-type": "application/json; v=2"}
    )

    echo = echo_of(answer)
    assert (echo.method, echo.target, echo.body.encode("latin-1")) == (method, f"{path}?a=%2F+%20b&&c=d%zz", body)
    assert echo.content_type == "application/json; v=2"
    assert answer.status_code == 201
    assert answer.content == (await pair.upstream.log("codex_control"))[0].answer
    assert await pair.upstream.violations() == []


async def test_only_the_headers_that_concern_a_client_come_back_from_a_small_call(pair: Pair) -> None:
    await pair.add("a")
    sent = {"authorization": "Bearer sk-clb-secret", "cookie": "a=b", "originator": "codex_exec", "accept": "text/x"}

    answer = await pair.client.post(SEARCH, content=b"words", headers=sent)
    unchanged = await pair.client.post(SEARCH, content=b"words", headers={"if-none-match": '"echo"'})

    kept = {name: answer.headers[name] for name in ("content-type", "etag", "cache-control", "request-id")}
    assert kept == {
        "content-type": "application/json; of=echo",
        "etag": '"echo"',
        "cache-control": "max-age=60",
        "request-id": "upstream-1",
    }
    assert "x-secret-of-upstream" not in answer.headers
    seen = (await pair.upstream.log("codex_control"))[0]
    assert (seen.header("originator"), seen.header("cookie"), echo_of(answer).accept) == ("codex_exec", None, "text/x")
    assert (unchanged.status_code, unchanged.content) == (304, b"")


async def test_what_is_not_on_the_list_is_not_forwarded(pair: Pair) -> None:
    await pair.add("a")

    answers = [
        await pair.client.post("/backend-api/codex/agent-identities/jwks", json={}),
        await pair.client.get(f"{GOAL}/set"),
        await pair.client.request("HEAD", f"{GOAL}/get"),
        await pair.client.get("/backend-api/codex/safety"),
        await pair.client.get("/backend-api/wham/accounts/check"),
    ]

    assert [a.status_code for a in answers] == [405, 405, 405, 404, 404]
    assert await pair.upstream.log("codex_control", "unknown") == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"text"'])
async def test_a_goal_is_a_json_object(pair: Pair, body: bytes) -> None:
    await pair.add("a")

    answer = await pair.client.post(f"{GOAL}/set", content=body)

    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert await pair.upstream.log("codex_control") == []


async def test_a_threads_goal_stays_with_one_account(pair: Pair) -> None:
    await pair.add("a", "b", "c")

    served = [
        echo_of(await pair.client.post(f"{GOAL}/{verb}", json={}, headers={"session-id": "t1"})).account
        for verb in ("set", "get", "get", "set", "get", "clear")
    ]

    assert len(set(served)) == 1


@pytest.mark.parametrize("step", MOVED.values(), ids=MOVED.keys())
async def test_a_small_call_moves_to_another_account(pair: Pair, step: Step) -> None:
    await pair.add("bad", "good")
    for kind in ("codex_control", "transcribe", "files"):
        await pair.upstream.script("bad", then=step, kind=kind)

    for _ in range(3):
        searched = await pair.client.post(SEARCH, content=b"words")
        heard = await pair.client.post(TRANSCRIBE, files=AUDIO)
        filed = await pair.client.post(FILES, json=REGISTRATION)

        assert echo_of(searched).account == "good"
        assert heard.json()["text"] == "a.wav of 8 bytes, audio/wav"
        assert filed.json()["status"] == "success"
    await pair.settled()


async def test_a_small_call_tells_what_it_learnt_of_accounts(pair: Pair) -> None:
    limited, refused, _ = await pair.add("limited", "refused", "good")
    await pair.upstream.script("limited", then=limit(resets_in_s=3600), kind="*")
    await pair.upstream.script("refused", then=unauthorized(), kind="*")

    for _ in range(40):  # whoever is asked first is left to chance
        assert (await pair.client.post(SEARCH, content=b"words")).status_code == 201
    await pair.settled()

    assert (await pair.status_of(limited.email)).status == ACCOUNT_STATUS_RATE_LIMITED
    assert (await pair.status_of(refused.email)).status == ACCOUNT_STATUS_REAUTH_REQUIRED


async def test_upstreams_refusal_of_a_small_call_comes_back_as_it_is_and_touches_no_account(pair: Pair) -> None:
    a, b = await pair.add("a", "b")

    for status in (400, 404, 409, 422):
        for name in ("a", "b"):
            await pair.upstream.script(name, then=http(status, "special_code"), kind="codex_control")
        answer = await pair.client.post(SEARCH, content=b"words")
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, "special_code")

    assert len(await pair.upstream.log("codex_control")) == 4
    await pair.settled()
    assert {(await pair.status_of(one.email)).status for one in (a, b)} == {ACCOUNT_STATUS_ACTIVE}


async def test_a_small_call_that_nobody_can_serve_says_why(pair: Pair) -> None:
    await pair.add("a", "b")
    await pair.upstream.script("a", then=limit(resets_in_s=7200), kind="*")
    await pair.upstream.script("b", then=limit(resets_in_s=3600), kind="*")

    answer = await pair.client.post(SEARCH, content=b"words")

    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "usage_limit_reached"
    assert 3500 < answer.json()["error"]["resets_in_seconds"] <= 3601


async def test_a_client_that_leaves_a_small_call_frees_its_account(pair: Pair) -> None:
    await pair.add("a")
    await pair.upstream.script("a", then=hang_headers(), kind="codex_control")
    asking = asyncio.create_task(pair.client.post(SEARCH, content=b"words"))
    await pair.upstream.wait_for_counters(lambda c: c.version > 0)
    while pair.gateway.leases.held == 0:  # noqa: ASYNC110 - nothing announces a lease
        await asyncio.sleep(0.01)

    asking.cancel()

    await pair.settled()


async def test_a_transcription_carries_the_recording_and_little_else(pair: Pair) -> None:
    await pair.add("a")
    headers = {"originator": "x", "x-codex-window-id": "w", "user-agent": "me", "x-request-id": "r"}

    answer = await pair.client.post(TRANSCRIBE, files=AUDIO, data={"prompt": "Zoë", "language": "de"}, headers=headers)

    assert answer.json() == {"text": "a.wav of 8 bytes, audio/wav", "prompt": "Zoë", "audio": "RIFF\r\n\x00\xff"}
    (seen,) = await pair.upstream.log("transcribe")
    assert answer.content == seen.answer
    assert (seen.header("user-agent"), seen.header("x-codex-window-id"), seen.header("originator")) == ("me", "w", None)
    assert await pair.upstream.violations() == []


async def test_the_python_sdk_transcribes(pair: Pair) -> None:
    await pair.add("a")
    client = AsyncOpenAI(base_url=f"{pair.base_url}/v1", api_key="none", max_retries=0)

    heard = await client.audio.transcriptions.create(
        model="gpt-4o-transcribe", file=("speech.mp3", BytesIO(b"ID3"), "audio/mpeg"), prompt="names"
    )
    await client.close()

    assert heard.text == "speech.mp3 of 3 bytes, audio/mpeg"


BAD_FORMS: dict[str, tuple[dict[str, object], int, str | None]] = {
    "no model": ({"files": AUDIO}, 400, "model"),
    "another model": ({"files": AUDIO, "data": {"model": "whisper-1"}}, 400, "model"),
    "no file": ({"files": {"model": (None, "gpt-4o-transcribe")}}, 400, "file"),
    "file as text": ({"files": {"model": (None, "gpt-4o-transcribe"), "file": (None, "RIFF")}}, 400, "file"),
    "two files": ({"files": [("file", ("a", b"1")), ("file", ("b", b"2"))]}, 413, "file"),
    "large file": ({"files": {"file": ("a", b"\0" * 25_000_001)}}, 413, "file"),
    "large field": ({"files": AUDIO, "data": {"prompt": "p" * (256 * 2**10 + 1)}}, 413, "prompt"),
    "many fields": ({"files": AUDIO, "data": {f"f{n}": "" for n in range(33)}}, 413, "f32"),
    "large body": ({"content": b"\0" * (33 * 2**20)}, 413, None),
    "no form": ({"json": {"model": "gpt-4o-transcribe"}}, 400, None),
    "cut form": (
        {"content": b"--b\r\ncontent-disposition: form-data; n", "headers": {"content-type": "multipart/form-data; boundary=b"}},
        400,
        None,
    ),
    "packed form": (
        {"content": b"", "headers": {"content-type": "multipart/form-data; boundary=b", "content-encoding": "gzip"}},
        400,
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "status", "param"), BAD_FORMS.values(), ids=BAD_FORMS.keys())
async def test_a_form_that_cannot_be_used_is_refused_in_the_clients_shape(
    pair: Pair, request_: dict[str, object], status: int, param: str | None
) -> None:
    await pair.add("a")

    answer = await pair.client.post("/v1/audio/transcriptions", **request_)  # type: ignore[arg-type]

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error.get("param")) == (status, "invalid_request_error", param)
    assert await pair.upstream.log("transcribe") == []


async def test_a_file_is_finalised_by_the_account_that_registered_it(pair: Pair) -> None:
    await pair.add("a", "b", "c")

    for _ in range(6):
        made = await pair.client.post(FILES, json=REGISTRATION)
        done = await pair.client.post(f"{FILES}/{made.json()['file_id']}/uploaded", json={})

        assert (done.status_code, done.json()["status"], done.json()["file_name"]) == (200, "success", "a.txt")
    assert await pair.upstream.violations() == []
    (first, *_) = await pair.upstream.log("files")
    assert first.body == {**REGISTRATION, "use_case": "codex"}
    await pair.settled()


async def test_a_file_waits_for_its_owner_and_goes_to_nobody_else(pair: Pair) -> None:
    await pair.add("a", "b")
    made = await pair.client.post(FILES, json=REGISTRATION)
    owner = (await pair.upstream.log("files"))[0].account
    assert owner is not None
    await pair.upstream.script(owner, then=unauthorized(), kind="files")

    done = await pair.client.post(f"{FILES}/{made.json()['file_id']}/uploaded", json={})

    assert done.status_code == 503
    assert {row.account for row in await pair.upstream.log("files")} == {owner}


async def test_a_file_that_nobody_knows_is_not_found(pair: Pair) -> None:
    await pair.add("a")

    unknown = await pair.client.post(f"{FILES}/file_unknown/uploaded", json={})
    strange = await pair.client.post(f"{FILES}/..%3Fx/uploaded", json={})

    assert (unknown.status_code, unknown.json()) == (404, {"detail": "File not found"})
    assert (strange.status_code, strange.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"file_size": 1}, None),
        ({"file_name": "", "file_size": 1}, "file_name"),
        ({"file_name": "a", "file_size": 0}, "file_size"),
        ({"file_name": "a", "file_size": 512 * 2**20 + 1}, "file_size"),
        ({"file_name": "a", "file_size": "1"}, "file_size"),
        ([], None),
    ],
)
async def test_a_registration_that_cannot_be_used_is_a_400(pair: Pair, body: object, param: str | None) -> None:
    answer = await pair.client.post(FILES, json=body)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error.get("param")) == (400, "invalid_request_error", param)


@pytest.mark.parametrize("path", ["/backend-api/wham/usage", "/api/codex/usage", "/api/codex/usage/"])
async def test_the_pools_usage_is_told_in_upstreams_shape_without_asking_it(pair: Pair, path: str) -> None:
    empty = (await pair.client.get(path)).json()
    await pair.add("a")
    await pair.client.post(SEARCH, content=b"words")
    await pair.settled()
    async with asyncio.timeout(5):
        while not (page := (await pair.client.get(path)).json())["rate_limit"]["primary_window"]:  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.02)

    assert (empty["plan_type"], empty["rate_limit"]["allowed"], empty["rate_limit"]["limit_reached"]) == (
        "guest",
        False,
        False,
    )
    assert (page["rate_limit"]["allowed"], page["rate_limit"]["limit_reached"]) == (True, False)
    window = page["rate_limit"]["primary_window"]
    assert (window["used_percent"], window["limit_window_seconds"]) == (12, 18_000)
    assert abs(window["reset_after_seconds"] - 3600) < 30
    assert await pair.upstream.log("usage") == []
