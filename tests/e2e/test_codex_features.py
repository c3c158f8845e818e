"""What else the real Codex CLI does: compacting, images, structured answers, reviews, newer models."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.codex import Codex
from tests.support.system import System
from tests.support.upstream import Turn

pytestmark = pytest.mark.client

EXEC = ("exec", "--json", "--skip-git-repo-check")
SOON = ("-c", "model_auto_compact_token_limit=5000")
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)


@pytest.mark.parametrize("is_websocket", [False, True], ids=["http", "websocket"])
async def test_codex_compacts_a_long_session_and_goes_on_from_what_came_of_it(
    product: System, tmp_path: Path, is_websocket: bool
) -> None:
    await product.add("a", "b")
    codex = Codex(tmp_path, product.base_url, is_websocket=is_websocket)

    long = await codex.run(*EXEC, *SOON, "<<tokens:9000>> <<say:long>> fill")
    next_one = await codex.run(*EXEC, *SOON, "resume", "--last", "<<say:after>> next")

    assert (long.messages, next_one.messages, long.errors, next_one.errors) == (["long"], ["after"], [], [])
    turns = await product.upstream.turns()
    compacting = next(turn for turn in turns if kinds_of(turn)[-1:] == ["compaction_trigger"])
    [compaction] = [item for item in turns[-1].body["input"] if item["type"] == "compaction"]
    assert compaction["encrypted_content"].encode() in compacting.answer
    assert {turn.account for turn in turns} == {compacting.account}
    assert {turn.transport for turn in turns} == {"websocket" if is_websocket else "http"}
    assert await product.upstream.violations() == []


async def test_codex_shows_an_image_to_the_model(product: System, tmp_path: Path) -> None:
    await product.add("a")
    codex = Codex(tmp_path, product.base_url)
    image = tmp_path / "pixel.png"
    image.write_bytes(PIXEL)

    run = await codex.run(*EXEC, "-i", str(image), "--", "<<say:seen>> look")

    assert (run.code, run.messages, run.errors) == (0, ["seen"], [])
    parts = [part for item in (await product.upstream.turn()).body["input"] for part in contents_of(item)]
    [shown] = [part["image_url"] for part in parts if part["type"] == "input_image"]
    assert shown.startswith("data:image/png;base64,")


async def test_codex_gets_an_answer_of_the_schema_it_asked_for(product: System, tmp_path: Path) -> None:
    await product.add("a")
    codex = Codex(tmp_path, product.base_url)
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    (tmp_path / "schema.json").write_text(json.dumps(schema))

    run = await codex.exec("<<say:well formed>>", "--output-schema", str(tmp_path / "schema.json"))

    assert (run.code, [json.loads(said) for said in run.messages]) == (0, [{"answer": "well formed"}])
    form = (await product.upstream.turn()).body["text"]["format"]
    assert (form["type"], form["schema"]) == ("json_schema", schema)


async def test_codex_reviews_what_is_not_committed(product: System, tmp_path: Path) -> None:
    await product.add("a", "b")
    codex = Codex(tmp_path, product.base_url)
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one", "--allow-empty"]):
        who = ["-c", "user.email=a@example.org", "-c", "user.name=a"]
        subprocess.run(["git", *who, *words], cwd=codex.work, check=True, capture_output=True)  # noqa: ASYNC221 - a moment
    (codex.work / "new.txt").write_text("new")

    run = await codex.run("exec", "review", "--uncommitted")

    assert run.code == 0, run.err[-500:]
    turns = await product.upstream.turns()
    assert turns
    assert {dict(turn.headers).get("x-openai-subagent") for turn in turns} == {"review"}
    assert await product.upstream.violations() == []


@pytest.mark.parametrize("is_websocket", [False, True], ids=["http", "websocket"])
async def test_a_newer_model_whose_tools_ride_in_the_input_runs_one(
    product: System, tmp_path: Path, is_websocket: bool
) -> None:
    await product.add("a")
    codex = Codex(tmp_path, product.base_url, is_websocket=is_websocket, model="gpt-6-sol")
    script = 'const r = await tools.exec_command({cmd: "echo from-$((40+2))"}); text(r.output);'

    run = await codex.exec(f"<<custom:exec:{script}>> go")

    assert (run.code, run.errors) == (0, [])
    assert "from-42" in run.messages[-1]
    assert await product.upstream.violations() == []


def kinds_of(turn: Turn) -> list[str]:
    """The types of its input items."""
    return [item.get("type", "message") for item in turn.body["input"]]


def contents_of(item: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a message."""
    content = item.get("content")
    return content if isinstance(content, list) else []
