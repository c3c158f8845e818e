"""Other gateways, each in an environment of its own that is made when it is first asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.others import running
from bench.subjects import ACCOUNTS, Subject, made
from tests.support.system import free_port

PEERS = Path(__file__).parent / ".peers"
LITELLM = "litellm[proxy]==1.108.7"
KEY = "sk-bench"
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
        yield Subject(
            "litellm",
            f"http://127.0.0.1:{port}",
            {"litellm": pid},
            api_key=KEY,
            path="/v1/responses",
            loads=frozenset({"short", "long"}),
        )


def environment(name: str, wanted: str) -> Path:
    """Its virtual environment, made when it is not there or holds something else."""
    folder, stamp = PEERS / name, PEERS / name / ".installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"Installing {wanted} into {folder} (some minutes, most of a gigabyte)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-qq", wanted], check=True)
        stamp.write_text(wanted)
    return folder
