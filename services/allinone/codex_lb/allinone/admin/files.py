"""The files that an import is given: single ones, folders, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from codex_lb.allinone.failures import CommandError
from codex_lb.api.admin.v1.account_service_pb2 import AuthFile

STDIN = "-"
FILE_BYTES_MAX = 2**20 + 1  # one more than control takes: it refuses what is cut here, and says why


class UnreadableFileError(CommandError):
    """A file named on the command line cannot be read."""


def read_files(names: Iterable[str]) -> list[AuthFile]:
    """Every file; of a folder its *.json in the order of their names. Raises UnreadableFileError."""
    return [_read(path) for name in names for path in _paths(name)]


def batches(files: Sequence[AuthFile], *, bytes_max: int) -> Iterator[list[AuthFile]]:
    """The files in requests of at most so many bytes, in order."""
    batch: list[AuthFile] = []
    held = 0
    for file in files:
        if batch and held + len(file.content) > bytes_max:
            yield batch
            batch, held = [], 0
        batch.append(file)
        held += len(file.content)
    if batch:
        yield batch


def _paths(name: str) -> list[Path]:
    path = Path(name).expanduser()
    if name == STDIN or not path.is_dir():
        return [path]
    found = sorted(path.glob("*.json"))
    if not found:
        raise UnreadableFileError(f"There is no *.json file in the folder {name}.")
    return found


def _read(path: Path) -> AuthFile:
    if str(path) == STDIN:
        return AuthFile(display_name="standard input", content=sys.stdin.buffer.read(FILE_BYTES_MAX))
    try:
        with path.open("rb") as opened:
            return AuthFile(display_name=str(path), content=opened.read(FILE_BYTES_MAX))
    except FileNotFoundError:
        raise UnreadableFileError(
            f"There is no file {path}. The Codex CLI keeps its login in ~/.codex/auth.json."
        ) from None
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be read: {error.strerror}.") from error
