"""Transcriptions, files, images and the small Codex endpoints."""

import httpx
import msgspec

from tests.integration.simulator.turns import create, events, items, kinds, signed
from tests.support import upstream as sim
from tests.support.simulator.record import Echo
from tests.support.upstream import Upstream

TRANSCRIBE = "/backend-api/transcribe"
FILES = "/backend-api/files"
GOAL = "/backend-api/codex/thread/goal/get"
USUAL = {"accept-encoding": "identity", "accept": "*/*", "user-agent": "codex-lb"}
DRAWING = {"tools": [{"type": "image_generation", "partial_images": 2}], "tool_choice": {"type": "image_generation"}}


async def test_a_transcription_tells_what_was_uploaded(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")

    answer = await client.post(
        TRANSCRIBE,
        headers=signed(account, **USUAL),
        files={"file": ("a.wav", b"RIFF\r\n\x00\xff", "audio/wav")},
        data={"prompt": "names"},
    )

    said = answer.json()
    assert said["text"] == "a.wav of 8 bytes, audio/wav"
    assert (said["prompt"], said["audio"].encode("latin-1")) == ("names", b"RIFF\r\n\x00\xff")


async def test_a_transcription_with_more_than_upstream_knows_is_refused(
    upstream: Upstream, client: httpx.AsyncClient
) -> None:
    account = await upstream.add_account("a")
    audio = {"file": ("a.wav", b"RIFF", "audio/wav")}

    more_fields = await client.post(TRANSCRIBE, headers=signed(account, **USUAL), files=audio, data={"model": "m"})
    more_headers = await client.post(TRANSCRIBE, headers=signed(account, originator="x"), files=audio)

    assert [more_fields.status_code, more_headers.status_code] == [422, 403]
    assert [v.detail for v in await upstream.violations()] == ["originator"]


async def test_a_file_is_done_at_the_second_asking_and_only_for_its_owner(
    upstream: Upstream, client: httpx.AsyncClient
) -> None:
    owner, other = await upstream.add_account("a"), await upstream.add_account("b")
    registration = {"file_name": "a.txt", "file_size": 3, "use_case": "codex"}

    made = (await client.post(FILES, headers=signed(owner, **USUAL), json=registration)).json()
    finalise = f"{FILES}/{made['file_id']}/uploaded"
    answers = [
        await client.post(finalise, headers=signed(account, **USUAL), json={}) for account in (owner, other, owner)
    ]

    assert [a.status_code for a in answers] == [200, 404, 200]
    assert [answers[n].json()["status"] for n in (0, 2)] == ["retry", "success"]
    assert answers[2].json()["file_name"] == "a.txt"


async def test_small_endpoints_tell_what_they_were_asked(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", sim.http(500), kind="codex_control")

    answers = [await client.get(f"{GOAL}?thread_id=a%2Fb&x", headers=signed(account)) for _ in range(2)]

    assert [a.status_code for a in answers] == [500, 201]
    told = msgspec.json.decode(answers[1].content, type=Echo)
    assert (told.account, told.method, told.target, told.body) == ("a", "GET", f"{GOAL}?thread_id=a%2Fb&x", "")


async def test_an_image_is_shown_in_parts_and_then_whole(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")

    answer = await create(client, account, "a cat", **DRAWING)
    words = await create(client, account, "<<say:no>>", **DRAWING)

    assert kinds(answer.content).count("response.image_generation_call.partial_image") == 2
    (image,) = items(answer.content)
    assert (image["type"], image["status"], image["size"]) == ("image_generation_call", "completed", "1024x1024")
    assert events(answer.content)[-1]["response"]["tool_usage"]["image_gen"]["output_tokens"] == 272
    assert [item["type"] for item in items(words.content)] == ["message"]
