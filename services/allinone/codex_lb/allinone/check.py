"""`codex-lb check`: whether what is configured here can work, without starting it."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import httpx
from rich.table import Table
from rich.text import Text

from codex_lb.allinone.admin.client import local, open_admin, remote
from codex_lb.allinone.data_dir import owner_of
from codex_lb.allinone.failures import sentence_of
from codex_lb.allinone.process import run_once
from codex_lb.allinone.settings import AdminSettings, AllInOneSettings
from codex_lb.allinone.terminal import console
from codex_lb.api.admin.v1.system_service_pb2 import GetStatusRequest
from codex_lb.control.errors import KeyFileError
from codex_lb.control.settings import ControlSettings
from codex_lb.control.store.database import database_url, open_database
from codex_lb.control.store.migrate import current_revision, head_revision, needs_migration
from codex_lb.control.store.sqlite import file_of
from codex_lb.control.vault.key_file import load_keys
from codex_lb.gateway.settings import GatewaySettings
from codex_lb.kit.settings import load
from codex_lb.usage_worker.settings import WorkerSettings

UPSTREAM_WITHIN_S = 8.0  # as long as a gateway tries to connect


class Verdict(StrEnum):
    """How a check ended."""

    GOOD = "ok"
    NOTE = "note"  # worth knowing, nothing to mend
    BAD = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    verdict: Verdict
    text: str


STYLES = {Verdict.GOOD: "green", Verdict.NOTE: "yellow", Verdict.BAD: "bold red"}


def check(data_dir: Path | None) -> bool:
    """Prints what every check found; whether nothing is wrong."""
    findings: dict[str, Finding] = {}
    run_once(lambda: look_at_everything(data_dir, findings))
    table = Table.grid(padding=(0, 2))
    for name, finding in findings.items():
        table.add_row(Text(finding.verdict, style=STYLES[finding.verdict]), name, Text(finding.text, style="dim"))
    console().print(table)
    return all(finding.verdict is not Verdict.BAD for finding in findings.values())


async def look_at_everything(data_dir: Path | None, findings: dict[str, Finding]) -> None:
    """Every check in the order in which a start would meet them."""

    async def look(name: str, at: Callable[[], Finding | Awaitable[Finding]]) -> bool:
        try:
            found = at()
            findings[name] = found if isinstance(found, Finding) else await found
        except Exception as error:
            sentence = sentence_of(error)
            if sentence is None:
                raise
            findings[name] = Finding(Verdict.BAD, sentence)
        return findings[name].verdict is not Verdict.BAD

    if not await look("settings", settings_are_readable):
        return
    control, worker, gateway, admin = (
        load(ControlSettings),
        load(WorkerSettings),
        load(GatewaySettings),
        load(AdminSettings),
    )
    folder = (data_dir or control.data_dir).expanduser().absolute()
    control = control.model_copy(update={"data_dir": folder})
    await look("data folder", lambda: data_folder(folder))
    if await look("database", lambda: database(control)):
        await look("key", lambda: key(control))
    await look("upstream", lambda: answers(f"{gateway.upstream_base_url}/codex/models"))
    await look("token issuer", lambda: answers(worker.auth_base_url))
    await look("control", lambda: control_runs(folder, admin if data_dir is None else None))


def settings_are_readable() -> Finding:
    """Raises ConfigurationError, which names every variable that is wrong."""
    for settings in (ControlSettings, GatewaySettings, WorkerSettings, AllInOneSettings, AdminSettings):
        load(settings)
    set_here = sorted(name for name in os.environ if name.startswith("CODEX_LB_"))
    return Finding(
        Verdict.GOOD, f"from the environment: {', '.join(set_here)}" if set_here else "all at their defaults"
    )


def data_folder(folder: Path) -> Finding:
    """Whether it can be read and written."""
    if not folder.exists():
        return Finding(Verdict.NOTE, f"{folder} does not exist; the first start makes it")
    if not (folder.is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK)):
        return Finding(Verdict.BAD, f"{folder} cannot be read and written")
    owner = owner_of(folder)
    return Finding(Verdict.GOOD, f"{folder}, in use by process {owner}" if owner else str(folder))


async def database(settings: ControlSettings) -> Finding:
    """Whether it answers and which revision it has. Raises ControlError."""
    url = database_url(settings.database)
    if is_absent(settings):
        return Finding(Verdict.NOTE, f"{file_of(url)} does not exist; the first start makes it")
    shown = url.render_as_string(hide_password=True)
    revision = await current_revision(settings.database)
    if await needs_migration(settings.database):
        return Finding(
            Verdict.NOTE, f"{shown} is at revision {revision}; the next start brings it to {head_revision()}"
        )
    return Finding(Verdict.GOOD, f"{shown} at revision {revision}")


async def key(settings: ControlSettings) -> Finding:
    """Whether it is the one that the stored logins were sealed with."""
    known = frozenset[str]() if is_absent(settings) else await known_keys(settings)
    keys = load_keys(settings.key_file)
    if keys is None and not known:
        return Finding(Verdict.NOTE, f"{settings.key_file} does not exist; the first start makes it")
    if keys is None:
        raise KeyFileError(f"{settings.key_file} is missing, and the stored logins cannot be opened without it")
    if known and known.isdisjoint(key.key_id for key in keys):
        raise KeyFileError(f"{settings.key_file} is not the key that the stored logins were sealed with")
    return Finding(Verdict.GOOD, f"{settings.key_file} (keep a copy: without it the stored logins are lost)")


async def known_keys(settings: ControlSettings) -> frozenset[str]:
    """The ids of the keys the database was used with; none before its first migration."""
    if await current_revision(settings.database) is None:
        return frozenset()
    async with open_database(settings.database) as store, store.begin(writing=False) as unit:
        return await unit.fingerprints.load()


def is_absent(settings: ControlSettings) -> bool:
    """Whether the database is a file that is not there. Asked first: to connect would create it."""
    url = database_url(settings.database)
    return url.get_backend_name() == "sqlite" and not file_of(url).exists()


async def answers(url: str) -> Finding:
    """Whether anybody answers there. No login is sent, so a refusal is a good answer."""
    began = time.monotonic()
    try:
        async with httpx.AsyncClient(timeout=UPSTREAM_WITHIN_S) as http:
            answer = await http.get(url)
    except httpx.HTTPError as error:
        return Finding(Verdict.BAD, f"{url} does not answer: {str(error) or type(error).__name__}")
    took_ms = (time.monotonic() - began) * 1000
    if answer.is_server_error:
        return Finding(Verdict.BAD, f"{url} answers with status {answer.status_code}")
    return Finding(Verdict.GOOD, f"{url} answers in {took_ms:.0f} ms")


async def control_runs(folder: Path, settings: AdminSettings | None) -> Finding:
    """Whether the admin API answers; that it is not started yet is nothing wrong here, an address that is silent is."""
    if settings is not None and settings.server is not None:
        token = settings.service_token.get_secret_value() if settings.service_token else None
        address = remote(settings.server, token, settings.control_tls_ca_file)
    else:
        address = local(folder)
        if not owner_of(folder):
            return Finding(Verdict.NOTE, "not running; `codex-lb` starts it")
    async with open_admin(address) as admin:
        status = await admin.system.GetStatus(GetStatusRequest())
    return Finding(Verdict.GOOD, f"version {status.version} answers; gateways attached: {len(status.gateways)}")
