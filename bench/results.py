"""Results: kept as JSON with commit and machine, shown beside the last ones."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).parent / "results"
LATEST = FOLDER / "latest.json"
FLOOR = "floor"

Figures = dict[str, dict[str, float]]


def last() -> Figures:
    """The figures that were kept last."""
    figures: Figures = json.loads(LATEST.read_text())["figures"] if LATEST.exists() else {}
    return figures


def keep(figures: Figures) -> None:
    """Makes these the last; figures that were not measured now stay as they were."""
    FOLDER.mkdir(exist_ok=True)
    kept = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
        ).stdout.strip(),
        "machine": f"{os.cpu_count()}-core {platform.machine()} VM, Python {platform.python_version()}",
        "figures": last() | figures,
    }
    LATEST.write_text(json.dumps(kept, indent=1) + "\n")


def show(figures: Figures, before: Figures) -> None:
    """Value, ratio to the floor where it was measured too, change since the last results."""
    for name, values in figures.items():
        print(f"\n{name}")
        for subject, value in values.items():
            bottom, old = values.get(FLOOR), before.get(name, {}).get(subject)
            ratio = f"{value / bottom:6.2f} x floor" if bottom and not name.startswith(("first", "event")) else " " * 14
            change = f"   was {old:.2f}" if old is not None else ""
            print(f"  {subject:<12}{value:10.2f}  {ratio}{change}", flush=True)
