"""The services one by one, each in a process of its own, as configured by the environment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from codex_lb.allinone.data_dir import claimed, open_socket_folder, socket_path
from codex_lb.allinone.invitation import how_to_sign_in, is_reachable, json_line
from codex_lb.allinone.process import run_once, run_until_stopped
from codex_lb.allinone.settings import ProcessSettings
from codex_lb.allinone.terminal import console
from codex_lb.kit.clock import SystemClock
from codex_lb.kit.health import Health
from codex_lb.kit.service import Service, Stop, run_all
from codex_lb.kit.settings import load
from codex_lb.kit.sockets import url_of

END_WITHIN_S = 15.0  # beyond running turns: the last settlements, the connections
WORKER_END_WITHIN_S = 60.0  # a rotation in flight is waited for: cut off, it would cost the login


def gateway() -> None:
    """The data plane."""
    from codex_lb.gateway.app import GatewayService
    from codex_lb.gateway.settings import GatewaySettings

    settings = load(GatewaySettings)
    settings = settings.model_copy(update={"data_dir": settings.data_dir.expanduser()})
    _run([GatewayService(settings, SystemClock())], drain_s=settings.shutdown_drain_timeout_seconds + END_WITHIN_S)


def control() -> None:
    """The control plane. On SQLite the data folder is its alone, and `codex-lb admin` finds it there."""
    from codex_lb.control.app import Control, services_of
    from codex_lb.control.settings import ControlSettings

    settings = load(ControlSettings)
    health = Health()
    with ExitStack() as folder:
        if settings.database.startswith("sqlite"):
            data_dir = settings.data_dir.expanduser().absolute()
            folder.enter_context(claimed(data_dir))
            folder.enter_context(open_socket_folder(data_dir))
            listen = (*settings.control_listen, f"unix:{socket_path(data_dir)}")
            settings = settings.model_copy(update={"data_dir": data_dir, "control_listen": listen})

        def opened(control: Control) -> None:
            host, port = settings.http_address
            if is_reachable(host):
                tell(how_to_sign_in(control.sign_in_link, settings.dashboard_url or url_of(host, port)))

        services = services_of(settings, SystemClock(), health, on_open=opened)
        _run(services, drain_s=END_WITHIN_S, on_ready=health.started)


def tell(line: str) -> None:
    """On standard output: the log is for what everybody who reads it may know."""
    is_json = load(ProcessSettings).log_format == "json"
    sys.stdout.write(json_line(SystemClock(), line) if is_json else line + "\n")
    sys.stdout.flush()


def usage_worker() -> None:
    """The clock."""
    from codex_lb.usage_worker.app import services_of
    from codex_lb.usage_worker.settings import WorkerSettings

    health = Health()
    services = services_of(load(WorkerSettings), SystemClock(), health)
    _run(services, drain_s=WORKER_END_WITHIN_S, on_ready=health.started)


def migrate(data_dir: Path | None) -> None:
    """Brings the schema up to date and says what was done."""
    from codex_lb.control.settings import ControlSettings
    from codex_lb.control.store import migrate as schema

    settings = load(ControlSettings)
    folder = (data_dir or settings.data_dir).expanduser().absolute()
    settings = settings.model_copy(update={"data_dir": folder})

    async def bring_up_to_date() -> None:
        report = await schema.migrate(
            settings.database,
            backup=settings.database_sqlite_pre_migrate_backup_enabled,
            backup_files_max=settings.database_sqlite_pre_migrate_backup_max_files,
            now=SystemClock().now(),
        )
        if report.has_changed:
            console().print(f"Migrated from {report.from_revision or 'nothing'} to {report.to_revision}.")
        else:
            console().print(f"Nothing to do: the schema is at {report.to_revision}.")
        if report.backup_file is not None:
            console().print(f"The database as it was before: {report.backup_file}")

    with ExitStack() as claim:
        if settings.database.startswith("sqlite"):
            claim.enter_context(claimed(folder))
        run_once(bring_up_to_date)


def _run(services: Sequence[Service], *, drain_s: float, on_ready: Callable[[], None] | None = None) -> None:
    async def run_services(stop: Stop) -> None:
        await run_all(services, stop, drain_s=drain_s, on_ready=on_ready)

    run_until_stopped(load(ProcessSettings), run_services)
