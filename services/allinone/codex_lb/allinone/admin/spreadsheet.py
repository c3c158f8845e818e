"""CSV for spreadsheets. What clients typed is never taken for a formula."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from codex_lb.allinone.failures import CommandError

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class Sheet:
    """Rows below a head."""

    def __init__(self, file: TextIO, head: Sequence[str]) -> None:
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(head)

    def add(self, cells: Sequence[object]) -> None:
        """A row; None is an empty cell."""
        self._writer.writerow([_plain(cell) for cell in cells])


@contextmanager
def open_sheet(path: Path | None, head: Sequence[str]) -> Iterator[Sheet]:
    """Into a file, or to standard output. Raises CommandError."""
    if path is None:
        yield Sheet(sys.stdout, head)
        return
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            yield Sheet(file, head)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from error


def _plain(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell
