"""Writes docs/reference from the code, or (--check) says whether it is up to date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from codex_lb.allinone.settings import AdminSettings, AllInOneSettings
from codex_lb.control.settings import ControlSettings
from codex_lb.gateway.settings import GatewaySettings
from codex_lb.kit.settings import ServiceSettings, env_name
from codex_lb.usage_worker.settings import WorkerSettings

FOLDER = Path(__file__).resolve().parent / "reference"
SETTINGS: dict[str, type[ServiceSettings]] = {
    "all-in-one": AllInOneSettings,
    "gateway": GatewaySettings,
    "control": ControlSettings,
    "usage-worker": WorkerSettings,
    "admin": AdminSettings,
}


def main() -> int:
    """Writes, or compares; the exit code says whether anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with what is committed; write nothing")
    is_check = parser.parse_args().check
    pages = {FOLDER / "settings.md": settings_page()}
    for path, text in pages.items():
        if not is_check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.stderr.write(f"{path.name} is not what the code says (run make docs)\n")
            return 1
    return 0


def settings_page() -> str:
    """Every setting once, with the services that read it."""
    readers: dict[str, list[str]] = {}
    fields: dict[str, FieldInfo] = {}
    for service, settings in SETTINGS.items():
        for name, field in settings.model_fields.items():
            readers.setdefault(name, []).append(service)
            fields.setdefault(name, field)
    lines = [
        "# Settings",
        "",
        "Environment variables, over `.env.local`, over `.env` in the working directory. Generated from the code by",
        "`make docs`; an empty variable counts as not set.",
        "",
        "| variable | default | read by | what it is |",
        "| --- | --- | --- | --- |",
    ]
    lines += [row(name, fields[name], readers[name]) for name in sorted(fields)]
    return "\n".join(lines) + "\n"


def row(name: str, field: FieldInfo, readers: Iterable[str]) -> str:
    """One line of the table."""
    description = (field.description or "").replace("|", "\\|")
    return f"| `{env_name(name)}` | {default_of(field)} | {', '.join(readers)} | {description} |"


def default_of(field: FieldInfo) -> str:
    """A default as a person would write it in the environment."""
    if field.default_factory is not None:
        return "see text"
    value = field.default
    if value is PydanticUndefined:
        return "needed"
    if value is None or SecretStr in get_args(field.annotation):
        return "not set"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | list | frozenset):
        return f"`{','.join(str(one) for one in value)}`" if value else "empty"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`" if value != "" else "empty"


if __name__ == "__main__":
    raise SystemExit(main())
