"""The options that say where control is, as every command below `codex-lb admin` is given them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Where:
    """A data folder of this machine, or a server elsewhere."""

    data_dir: Path | None
    server: str | None
    token: str | None
    tls_ca: Path | None
