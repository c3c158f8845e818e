"""Keeps settlements and turn reports until control says that they are committed.

In memory up to a bound; beyond it, and at the end of the process, the oldest go to disk and come back when there is
room, so that a control or database that is away for long costs no usage. Nothing in them is secret.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from codex_lb.api.control.v1 import leases_pb2 as pb

ENTRIES_MAX = 10_000  # about 10 MB; half an hour of turns of a busy gateway
SPILL_ENTRIES = 1_000  # per file
SUFFIX = ".settlements"
log = structlog.get_logger(__name__)

Entry = pb.Settlement | pb.TurnReport


def id_of(entry: Entry) -> str:
    """What control acknowledges an entry by. Lease ids and turn ids have different prefixes."""
    return entry.lease.lease_id if isinstance(entry, pb.Settlement) else entry.turn_id


class Outbox:
    """Entries by id, oldest first."""

    def __init__(
        self, folder: Path | None, *, entries_max: int = ENTRIES_MAX, spill_entries: int = SPILL_ENTRIES
    ) -> None:
        self._folder = folder
        self._entries_max = entries_max
        self._spill_entries = spill_entries
        self._entries: dict[str, Entry] = {}
        self._files: deque[Path] = deque(sorted(folder.glob(f"*{SUFFIX}")) if folder and folder.exists() else ())
        self._loaded: dict[Path, set[str]] = {}  # files whose entries are in memory, with those not yet acknowledged

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry) -> None:
        """Keeps an entry."""
        self._entries[id_of(entry)] = entry
        if len(self._entries) > self._entries_max:
            self._spill()

    def acknowledge(self, ids: Iterable[str]) -> None:
        """Forgets what is committed."""
        for entry_id in ids:
            self._entries.pop(entry_id, None)
            for path, waiting in list(self._loaded.items()):
                waiting.discard(entry_id)
                if not waiting:
                    path.unlink(missing_ok=True)
                    del self._loaded[path]

    def unacknowledged(self) -> list[Entry]:
        """Everything in memory, for saying it again after a broken stream."""
        return list(self._entries.values())

    def recall(self) -> list[Entry]:
        """Entries of one spilled file, if there is one and room for it; they are kept like any other."""
        if not self._files or len(self._entries) + self._spill_entries > self._entries_max:
            return []
        path = self._files.popleft()
        recalled: list[Entry] = []
        try:
            bundle = pb.AttachRequest.FromString(path.read_bytes())
        except FileNotFoundError:
            return []  # another gateway of the same folder has it and was done with it sooner
        except (OSError, DecodeError):
            log.exception("a file of settlements cannot be read and is left where it is", path=str(path))
            return []
        recalled += bundle.settlements
        recalled += bundle.turns
        self._loaded[path] = {id_of(entry) for entry in recalled}
        for entry in recalled:
            self._entries[id_of(entry)] = entry
        return recalled

    def close(self) -> None:
        """Writes what is left to disk."""
        while self._entries:
            kept_elsewhere = set().union(*self._loaded.values()) if self._loaded else set()
            for entry_id in kept_elsewhere:
                self._entries.pop(entry_id, None)  # still in the file it came from
            self._loaded.clear()
            if self._entries:
                self._spill()

    def _spill(self) -> None:
        """Puts the oldest on disk. Never raises: whoever settles a lease cannot help a full disk."""
        oldest = list(self._entries)[: self._spill_entries]
        bundle = pb.AttachRequest()
        for entry_id in oldest:
            entry = self._entries.pop(entry_id)
            if isinstance(entry, pb.Settlement):
                bundle.settlements.append(entry)
            else:
                bundle.turns.append(entry)
        if self._folder is None:
            log.error("settlements are lost: there is no folder to keep them in", entries=len(oldest))
            return
        # By the nanosecond: what was written first comes back first, also within the same millisecond.
        path = self._folder / f"spill_{time.time_ns():020d}_{secrets.token_hex(4)}{SUFFIX}"
        part = path.with_suffix(".part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(bundle.SerializeToString())
            part.rename(path)  # a reader sees a whole file or none
        except OSError:
            log.exception("settlements are lost: they cannot be written", entries=len(oldest), path=str(path))
            return
        self._files.append(path)
        log.warning("settlements wait on disk until control returns", entries=len(oldest), path=str(path))
