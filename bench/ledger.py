"""The results that were kept: each figure with when and at which commit it was measured, all of one machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

from bench.measured import Figures, Measured
from bench.targets import NGINX, PEERS

LATEST = Path(__file__).parent / "results" / "latest.json"
OTHERS = frozenset({NGINX, *PEERS})


class Entry(TypedDict):
    """A figure in the file."""

    at: str
    commit: str
    note: str
    rounds: dict[str, list[float]]  # of every subject


class Ledger(TypedDict):
    """The file."""

    machine: str
    figures: dict[str, Entry]


@dataclass(frozen=True, slots=True)
class Now:
    """Where and when figures were measured."""

    at: str
    commit: str
    machine: str


def read(file: Path = LATEST) -> Ledger:
    """What was kept last; nothing when there is no file."""
    if not file.exists():
        return Ledger(machine="", figures={})
    ledger: Ledger = json.loads(file.read_text())
    return ledger


def figures_of(ledger: Ledger) -> Figures:
    """As they were measured."""
    return {name: Measured(entry["rounds"], entry["note"]) for name, entry in ledger["figures"].items()}


def with_new(ledger: Ledger, figures: Mapping[str, Measured], now: Now) -> Ledger:
    """With these in place of older ones. Figures that were not measured now stay as they were, and so do other people's
    programs, whose figures do not depend on our commit.
    """
    kept = dict(ledger["figures"])
    for name, found in figures.items():
        older = kept[name]["rounds"] if name in kept else {}
        before = {subject: older[subject] for subject in OTHERS & older.keys()}
        rounds = {subject: [float(f"{value:.6g}") for value in seen] for subject, seen in found.rounds.items()}
        kept[name] = Entry(at=now.at, commit=now.commit, note=found.note, rounds=before | rounds)
    return Ledger(machine=now.machine, figures=kept)


def keep(figures: Figures, measured: Now, file: Path = LATEST) -> None:
    """Writes them to the file."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(with_new(read(file), figures, measured), indent=1) + "\n")


def now() -> Now:
    """This moment, commit and machine."""
    commit = _git("rev-parse", "--short", "HEAD")
    if _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results"):
        commit += ", with changes"
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    processor = model.partition(":")[2].strip() or platform.machine()
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()} cores of a VM ({processor}), {memory_gb:.0f} GB, Linux {platform.release()}"
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Now(at, commit, f"{machine}, Python {platform.python_version()}")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
