"""Runs the real Codex CLI, not interactively, with the configuration that our documentation gives."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from tests.support.node import node_folder

CODEX = Path(__file__).resolve().parents[1] / "clients/node_modules/.bin/codex"
WITHIN_S = 60.0
ENV_KEY = "CODEX_LB_API_KEY"  # where Codex takes the key from, as docs/clients.md says
# Without these it looks for updates, plugins and a place for telemetry, none of which concerns the product.
QUIET = """
check_for_update_on_startup = false
[analytics]
enabled = false
[features]
plugins = false
apps = false
[otel]
metrics_exporter = "none"
"""


@dataclass(frozen=True, slots=True)
class CodexRun:
    """What `codex exec --json` did."""

    code: int
    events: list[dict[str, Any]]
    err: str

    @property
    def messages(self) -> list[str]:
        """What the model said."""
        items = [e["item"] for e in self.events if e["type"] == "item.completed"]
        return [item["text"] for item in items if item["type"] == "agent_message"]

    @property
    def errors(self) -> list[str]:
        """What the user was told of trouble; a model Codex does not know is none."""
        said = [e["message"] for e in self.events if e["type"] == "error"]
        return [message for message in said if "Model metadata" not in message]


class Codex:
    """A Codex with a home of its own, so that sessions can be resumed."""

    def __init__(
        self, folder: Path, base_url: str, *, is_websocket: bool = False, model: str = "gpt-5.5", key: str = ""
    ) -> None:
        self.home = folder / "codex-home"
        self.work = folder / "codex-work"
        self._key = key
        self.home.mkdir(parents=True)
        self.work.mkdir()
        (self.home / "config.toml").write_text(
            f'model = "{model}"\nmodel_provider = "codex-lb"\n{QUIET}\n'
            "[model_providers.codex-lb]\n"
            'name = "OpenAI"\n'
            f'base_url = "{base_url}/backend-api/codex"\n'
            'wire_api = "responses"\n'
            f"supports_websockets = {str(is_websocket).lower()}\n" + (f'env_key = "{ENV_KEY}"\n' if key else "")
        )

    async def exec(self, prompt: str, *more: str) -> CodexRun:
        """`codex exec` with a prompt."""
        return await self.run("exec", "--json", "--skip-git-repo-check", *more, prompt)

    async def run(self, *arguments: str) -> CodexRun:
        """Any Codex command, to its end."""
        if not CODEX.exists():
            raise AssertionError("the Codex CLI is not installed: make setup-clients")
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        path = f"{node_folder()}{os.pathsep}{os.environ['PATH']}"
        env = kept | {"CODEX_HOME": str(self.home), "HOME": str(self.home), "PATH": path, ENV_KEY: self._key}
        with anyio.fail_after(WITHIN_S):
            ended = await anyio.run_process([str(CODEX), *arguments], env=env, cwd=self.work, input=b"", check=False)
        lines = [line for line in ended.stdout.decode().splitlines() if line.startswith("{")]
        return CodexRun(ended.returncode, [json.loads(line) for line in lines], ended.stderr.decode())
