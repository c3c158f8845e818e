"""Writes proto/gen from the .proto files, or (--check) says whether it is up to date.

protoc's output lands importable because proto path, proto package and Python package are the same.
"""

from __future__ import annotations

import argparse
import filecmp
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent
GENERATED = ROOT / "gen"


def main() -> int:
    """Generates, or compares; the exit code says whether anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with what is committed; write nothing")
    checking = parser.parse_args().check
    lint()
    if not checking:
        generate(GENERATED)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        stale = differing(Path(scratch), GENERATED)
    for path in stale:
        print(f"proto/gen is not what the sources say: {path} (run make proto)", file=sys.stderr)  # noqa: T201 - a command
    return 1 if stale else 0


def lint() -> None:
    """Raises CalledProcessError after buf has said what is wrong."""
    buf = Path(sys.executable).with_name("buf")
    subprocess.run([buf, "lint"], cwd=ROOT, check=True)  # noqa: S603 - our own tool
    subprocess.run([buf, "format", "--exit-code", "--diff"], cwd=ROOT, check=True)  # noqa: S603 - our own tool


def generate(out: Path) -> None:
    """Runs protoc with the Python, gRPC and type-stub plugins."""
    out.mkdir(parents=True, exist_ok=True)
    sources = [str(p.relative_to(ROOT)) for p in sorted((ROOT / "codex_lb").rglob("*.proto"))]
    command = [
        sys.executable, "-m", "grpc_tools.protoc",
        f"--proto_path={ROOT}", f"--proto_path={files('grpc_tools') / '_proto'}",
        f"--python_out={out}", f"--grpc_python_out={out}", f"--mypy_out={out}", f"--mypy_grpc_out={out}",
        *sources,
    ]  # fmt: skip
    subprocess.run(  # noqa: S603 - our own tools
        command, cwd=ROOT, check=True, env={"PATH": str(Path(sys.executable).parent)}, stderr=subprocess.DEVNULL
    )
    for path in out.rglob("*_pb2_grpc.py*"):
        source = ROOT / path.relative_to(out).with_name(path.name.split("_pb2_grpc")[0] + ".proto")
        if "\nservice " not in source.read_text():
            path.unlink()  # a file of messages only has no gRPC half worth keeping


def differing(left: Path, right: Path) -> list[str]:
    """Files that stand in only one of the trees or differ."""
    names = {p.relative_to(left) for p in left.rglob("*.py*")} | {
        p.relative_to(right) for p in right.rglob("*.py*") if "__pycache__" not in p.parts
    }
    return sorted(
        str(n)
        for n in names
        if not (left / n).is_file() or not (right / n).is_file() or not filecmp.cmp(left / n, right / n, shallow=False)
    )


if __name__ == "__main__":
    raise SystemExit(main())
