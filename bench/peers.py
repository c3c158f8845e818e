"""Other gateways, each in an environment of its own that is made when it is first asked for."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from bench.others import running
from bench.process import stand_still
from bench.subjects import ACCOUNTS, QUIET, Subject, made
from tests.support.logins import auth_file
from tests.support.system import free_port

PEERS = Path(__file__).parent / ".peers"
LITELLM = "litellm[proxy]==1.108.7"
KEY = "sk-bench"
MONOLITH = "codex-lb==1.24.0"  # Soju06/codex-lb
MONOLITHS_PYTHONS = ("python3.13", "python3.14")
PATIENT = {  # besides what we are told too: nothing that needs more of an upstream than the bench has
    **QUIET,
    "CODEX_LB_MODEL_REGISTRY_ENABLED": "false",
    "CODEX_LB_RATE_LIMIT_RESET_CREDITS_REFRESH_ENABLED": "false",
    "CODEX_LB_PROXY_ACCOUNT_RESPONSE_CREATE_LIMIT": "1000",
}
BY_HTTP = {
    "CODEX_LB_UPSTREAM_STREAM_TRANSPORT": "http",
    "CODEX_LB_HTTP_RESPONSES_SESSION_BRIDGE_ENABLED": "false",
}
STARTED_WITHIN_S = 120.0  # it imports for a quarter of a minute on a quiet machine
QUIETLY = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False"}


@asynccontextmanager
async def litellm(upstream: str, folder: Path) -> AsyncIterator[Subject]:
    """LiteLLM's proxy: one worker, its master key asked for, as many deployments of one model as we have accounts."""
    port, configuration = free_port(), made(folder) / "config.yaml"
    deployment = {
        "model_name": "gpt-5.5",
        "litellm_params": {"model": "openai/gpt-5.5", "api_base": f"{upstream}/v1", "api_key": "sk-upstream"},
    }
    configuration.write_text(  # JSON is YAML
        json.dumps(
            {
                "model_list": [deployment] * ACCOUNTS,
                "general_settings": {"master_key": KEY, "forward_client_headers_to_llm_api": True},  # for x-bench
            }
        )
    )
    program = str(environment("litellm", LITELLM) / "bin" / "litellm")
    command = [program, "--config", str(configuration), "--host", "127.0.0.1", "--port", str(port)]
    async with running(command, folder, port, env=QUIETLY, within_s=STARTED_WITHIN_S) as pid:
        stand_still([pid])
        yield Subject(
            "litellm",
            f"http://127.0.0.1:{port}",
            {"litellm": pid},
            api_key=KEY,
            path="/v1/responses",
            loads=frozenset({"short", "long"}),
            is_peer=True,
        )


@asynccontextmanager
async def monolith(upstream: str, folder: Path) -> AsyncIterator[Subject]:
    """Soju06/codex-lb as it comes: it speaks WebSocket to upstream."""
    async with _monolith("monolith", upstream, folder, {}) as subject:
        yield subject


@asynccontextmanager
async def monolith_by_http(upstream: str, folder: Path) -> AsyncIterator[Subject]:
    """Soju06/codex-lb, told to speak HTTP to upstream, as we do."""
    async with _monolith("monolith-http", upstream, folder, BY_HTTP) as subject:
        yield subject


@asynccontextmanager
async def _monolith(name: str, upstream: str, folder: Path, transport: dict[str, str]) -> AsyncIterator[Subject]:
    """With as many accounts as we have, API keys asked for and one limit, on SQLite, as we are."""
    port = free_port()
    program = str(environment("monolith", MONOLITH, python=python_of(MONOLITHS_PYTHONS)) / "bin" / "codex-lb")
    settings = {"CODEX_LB_DATA_DIR": str(made(folder)), "CODEX_LB_UPSTREAM_BASE_URL": upstream, **PATIENT, **transport}
    command = [program, "--host", "127.0.0.1", "--port", str(port)]
    async with (
        running(command, folder, port, env=settings, within_s=STARTED_WITHIN_S, log=folder / "log") as pid,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api", trust_env=False, timeout=30.0) as admin,
    ):
        for number in range(ACCOUNTS):
            login = auth_file(f"account-{number}", workspace=f"ws-{number}")
            (await admin.post("/accounts/import", files={"auth_json": ("auth.json", login)})).raise_for_status()
        limit = {"limitType": "total_tokens", "limitWindow": "weekly", "maxValue": 10**15}
        made_key = await admin.post("/api-keys/", json={"name": "bench", "limits": [limit]})
        current = (await admin.get("/settings")).json()
        (await admin.put("/settings", json={**current, "apiKeyAuthEnabled": True})).raise_for_status()
        key = made_key.raise_for_status().json()["key"]
        url = f"http://127.0.0.1:{port}"
        stand_still([pid])
        yield Subject(name, url, {name: pid}, api_key=key, loads=frozenset({"short", "long"}), is_peer=True)


def python_of(names: tuple[str, ...]) -> str:
    """The first of these interpreters that is there. Raises LookupError."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise LookupError(f"none of {', '.join(names)} is installed")
    return found


def environment(name: str, wanted: str, *, python: str = sys.executable) -> Path:
    """Its virtual environment, made when it is not there or holds something else."""
    folder, stamp = PEERS / name, PEERS / name / ".installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"Installing {wanted} into {folder} (some minutes, most of a gigabyte)", flush=True)
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-qq", wanted], check=True)
        stamp.write_text(wanted)
    return folder
