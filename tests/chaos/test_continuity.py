"""Threads of conversation through random faults, in virtual time; CONTRIBUTING says how to play many more of them."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

SEQUENCES = 500
WITHIN_S = 600.0  # a minute where nothing else runs
ROOT = Path(__file__).resolve().parents[2]


async def test_threads_survive_whatever_happens_to_accounts_gateways_and_control() -> None:
    command = [sys.executable, "-m", "tests.support.continuity", str(SEQUENCES)]

    with anyio.fail_after(WITHIN_S):
        played = await anyio.run_process(command, cwd=ROOT, check=False)

    assert played.returncode == 0, played.stdout.decode() + played.stderr.decode()
    assert f"{SEQUENCES} sequences" in played.stdout.decode()
