"""The clients of tests/clients-full, each run in a home of its own and kept to loopback.

OpenCode and OpenClaw are programs; the SDKs are driven by tests/clients-full/scenarios.mjs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio

from tests.support.node import own_node_folder

INSTALLED = Path(__file__).resolve().parents[1] / "clients-full"
NOWHERE = "http://127.0.0.1:9"  # a proxy that does not exist: whoever calls home is refused at once
LOOPBACK = "127.0.0.1,localhost"
OPENCODE_WITHIN_S = 90.0  # it takes 3 to 6 s
OPENCLAW_WITHIN_S = 180.0  # it takes 13 to 30 s
SCENARIO_WITHIN_S = 60.0
FORGOTTEN = ("XDG_", "OPENAI_", "CODEX_", "OPENCODE_", "OPENCLAW_", "NODE_", "NPM_", "BUN_")


@dataclass(frozen=True, slots=True)
class Ended:
    """What a client's program left."""

    code: int
    out: str
    err: str


async def run(command: Sequence[str | Path], home: Path, work: Path, *, within_s: float, **env: str) -> Ended:
    """The program to its end, with the wheel's node on its path. Raises TimeoutError."""
    if not (INSTALLED / "node_modules/.installed").exists():
        raise AssertionError("these clients are not installed: make setup-clients-full")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(FORGOTTEN) and not name.lower().endswith("_proxy")
    }
    kept |= {"HOME": str(home), "CODEX_LB_API_KEY": "none", "NODE_USE_ENV_PROXY": "1"}
    kept |= {f"XDG_{kind}_HOME": str(home / f".xdg-{kind.lower()}") for kind in ("CONFIG", "DATA", "CACHE", "STATE")}
    kept |= {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "NO_PROXY": LOOPBACK, "no_proxy": LOOPBACK}
    kept["PATH"] = f"{own_node_folder()}{os.pathsep}{os.environ['PATH']}"
    with anyio.fail_after(within_s):
        ended = await anyio.run_process(
            [str(part) for part in command], env=kept | env, cwd=work, input=b"", check=False
        )
    return Ended(ended.returncode, ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace"))


@dataclass(frozen=True, slots=True)
class OpenCodeRun:
    """What `opencode run --format json` did."""

    code: int
    events: list[dict[str, Any]]
    err: str

    @property
    def text(self) -> str:
        """What the model said."""
        return "\n".join(e["part"].get("text", "") for e in self.events if e["type"] == "text")

    @property
    def errors(self) -> list[dict[str, Any]]:
        """What the user was told of trouble."""
        return [e for e in self.events if e["type"] == "error"]

    @property
    def tool_outputs(self) -> list[str]:
        """What the tools that ran have written."""
        return [str(e["part"]["state"].get("output", "")).strip() for e in self.events if e["type"] == "tool_use"]


class OpenCode:
    """An OpenCode with a home and a project of its own, set up as our documentation says."""

    MODEL = "gpt-5.4"

    def __init__(self, folder: Path, base_url: str, provider: Literal["openai", "compatible"]) -> None:
        self.home, self.work = folder / "opencode-home", folder / "opencode-work"
        self.work.mkdir(parents=True)
        config = self.home / ".xdg-config/opencode/opencode.json"
        config.parent.mkdir(parents=True)
        options = {"baseURL": f"{base_url}/v1", "apiKey": "{env:CODEX_LB_API_KEY}"}
        model: dict[str, object] = {
            "name": "GPT",
            "reasoning": True,
            "options": {"reasoningEffort": "high", "reasoningSummary": "detailed"},
            "limit": {"context": 272000, "output": 65536},
            "attachment": True,
            "modalities": {"input": ["text", "image"], "output": ["text"]},
        }
        name, entry = "openai", dict[str, object](options=options)
        if provider == "compatible":
            model |= {"interleaved": {"field": "reasoning_details"}, "options": {"reasoningEffort": "medium"}}
            name = "codex-lb"
            entry |= {"npm": "@ai-sdk/openai-compatible", "name": name}
        entry["models"] = {self.MODEL: model}
        settings = {"provider": {name: entry}, "model": f"{name}/{self.MODEL}", "permission": {"bash": "allow"}}
        config.write_text(json.dumps(settings))

    async def ask(self, prompt: str, *more: str, title: str | None = "a test") -> OpenCodeRun:
        """`opencode run` with a prompt; without a title it asks a small model for one."""
        titled = ["--title", title] if title else []
        ended = await run(
            [INSTALLED / "node_modules/.bin/opencode", "run", "--format", "json", *titled, *more, prompt],
            self.home,
            self.work,
            within_s=OPENCODE_WITHIN_S,
            OPENCODE_DISABLE_AUTOUPDATE="1",
            OPENCODE_DISABLE_MODELS_FETCH="1",
        )
        lines = [line for line in ended.out.splitlines() if line.startswith("{")]
        return OpenCodeRun(ended.code, [json.loads(line) for line in lines], ended.err)


@dataclass(frozen=True, slots=True)
class OpenClawRun:
    """What `openclaw agent --local --json` did."""

    code: int
    text: str
    err: str


class OpenClaw:
    """An OpenClaw with a home and a state of its own."""

    MODEL = "gpt-5.4"

    def __init__(self, folder: Path, base_url: str) -> None:
        self.home = folder / "openclaw-home"
        self.state = self.home / ".openclaw"
        self.state.mkdir(parents=True)
        named = f"codex-lb/{self.MODEL}"
        model = {
            "id": self.MODEL,
            "name": self.MODEL,
            "contextWindow": 1050000,
            "contextTokens": 272000,
            "maxTokens": 4096,
            "input": ["text", "image"],
            "reasoning": False,
        }
        provider = {
            "baseUrl": f"{base_url}/v1",
            "apiKey": "${CODEX_LB_API_KEY}",
            "api": "openai-responses",
            "models": [model],
        }
        params = {named: {"params": {"cacheRetention": "short"}}}
        settings = {
            "agents": {"defaults": {"model": {"primary": named}, "models": params}},
            "models": {"mode": "merge", "providers": {"codex-lb": provider}},
        }
        (self.state / "openclaw.json").write_text(json.dumps(settings))

    async def ask(self, message: str, *, session: str = "one") -> OpenClawRun:
        """One message to the main agent."""
        ended = await run(
            [
                *(INSTALLED / "node_modules/.bin/openclaw", "agent", "--local", "--agent", "main"),
                *("--session-id", session, "--json", "--message", message),
            ],
            self.home,
            self.home,
            within_s=OPENCLAW_WITHIN_S,
            OPENCLAW_STATE_DIR=str(self.state),
        )
        start = ended.out.find("{")
        payloads = json.loads(ended.out[start:]).get("payloads", []) if start >= 0 else []
        return OpenClawRun(ended.code, "\n".join(str(one.get("text")) for one in payloads), ended.err)


async def scenario(name: str, base_url: str, home: Path) -> Any:
    """What a scenario of tests/clients-full/scenarios.mjs came to. Raises AssertionError with its error."""
    ended = await run(
        [own_node_folder() / "node", INSTALLED / "scenarios.mjs", name, f"{base_url}/v1"],
        home,
        home,
        within_s=SCENARIO_WITHIN_S,
    )
    if ended.code != 0:
        raise AssertionError(f"{name}: {ended.err[-2000:]}")
    return json.loads(ended.out)
