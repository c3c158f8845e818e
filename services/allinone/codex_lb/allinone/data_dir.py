"""The folder that holds everything of one installation: made for its owner only, and claimed by one process."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from codex_lb.allinone.failures import CommandError

LOCK_FILE = "codex-lb.lock"
SOCKET_FILE = "control.sock"
WEB_SOCKET_FILE = "web.sock"  # control's HTTP, for the edges in front of it
# What the kernel takes as the path of a unix socket, less the zero at its end.
SOCKET_PATH_BYTES_MAX = (104 if sys.platform == "darwin" else 108) - 1
SHORT_FOLDER = Path("/tmp")  # noqa: S108 - below it a folder of our own is made, and refused if it is not ours


class DataDirError(CommandError):
    """The data folder cannot be used. The text tells a person what to do."""


@contextmanager
def claimed(data_dir: Path) -> Iterator[None]:
    """Inside, the folder exists and is ours alone; the claim ends with the process, however that ends.

    Raises DataDirError.
    """
    prepare(data_dir)
    lock_file = data_dir / LOCK_FILE
    try:
        descriptor = os.open(lock_file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataDirError(_unusable(data_dir, error)) from error
    with os.fdopen(descriptor, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirError(_in_use(data_dir, lock.read().strip())) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        try:
            yield
        finally:
            # Emptied, not removed: another process may be waiting to lock this very file.
            lock.seek(0)
            lock.truncate(0)


def prepare(data_dir: Path) -> None:
    """Creates the folder if it is not there. Raises DataDirError when it cannot be read and written."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataDirError(_unusable(data_dir, error)) from error
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        raise DataDirError(_unusable(data_dir, PermissionError("no right to read and write there")))


def owner_of(data_dir: Path) -> str:
    """The id of the process that has claimed the folder, or nothing."""
    try:
        with (data_dir / LOCK_FILE).open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read().strip() or "unknown"
    except OSError:
        pass
    return ""


def socket_path(data_dir: Path, file: str = SOCKET_FILE, *, short_folder: Path = SHORT_FOLDER) -> Path:
    """Where control's socket of this folder is: inside, or in a short place where the path would be too long.

    A function of the folder alone, so that `codex-lb admin` looks where control listens.
    """
    inside = data_dir.absolute() / file
    if len(os.fsencode(inside)) <= SOCKET_PATH_BYTES_MAX:
        return inside
    digest = hashlib.sha256(os.fsencode(data_dir.absolute())).hexdigest()[:16]
    return short_folder / f"codex-lb-{os.geteuid()}" / f"{digest}-{file}"


@contextmanager
def open_socket_folder(data_dir: Path) -> Iterator[None]:
    """Inside, control can listen at `socket_path(data_dir, …)`; afterwards no socket is left behind.

    Raises DataDirError when the folder for long paths is not ours alone.
    """
    paths = [socket_path(data_dir, file) for file in (SOCKET_FILE, WEB_SOCKET_FILE)]
    for path in paths:
        if path.parent != data_dir.absolute():
            make_private(path.parent)
    try:
        yield
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def make_private(folder: Path) -> None:
    """Creates the folder if it is not there. Raises DataDirError when it is not ours alone."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not (stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077):
        raise DataDirError(
            f"{folder} belongs to somebody else or is open to others. Remove it, or choose a data folder with a path"
            f" of less than {SOCKET_PATH_BYTES_MAX - len(SOCKET_FILE)} bytes: then it is not needed."
        )


def _unusable(data_dir: Path, error: OSError) -> str:
    why = error.strerror or str(error)
    return f"The data folder {data_dir} cannot be used: {why[:1].lower()}{why[1:]}. Choose another with --data-dir."


def _in_use(data_dir: Path, pid: str) -> str:
    by = f"codex-lb with process id {pid}" if pid else "another codex-lb"
    return f"The data folder {data_dir} is in use by {by}. Stop that one, or choose another folder with --data-dir."
