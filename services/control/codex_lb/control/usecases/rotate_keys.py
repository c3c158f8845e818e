"""Changes the encryption key while everything runs: a new key, everything sealed anew, the old key retired.

What is under way stands in the database, so that whoever runs next goes on with it. At every moment the key file holds
every key that a stored secret is sealed with:

1. the new key is announced, and the others are marked as retiring, in one transaction;
2. the new key becomes the first of the file, on disk before anything is sealed with it;
3. what the others sealed is sealed anew, in small transactions;
4. when they seal nothing any more, they leave the file and are marked as retired, in one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import anyio
import structlog

from codex_lb.control.domain.ids import AccountId
from codex_lb.control.errors import ControlError, CredentialUnreadableError, KeyFileError, KeyRotationRefusedError
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.ports import Store
from codex_lb.control.usecases.vault_ports import Fingerprint, Keys, Sealed, SealedRow, Vault
from codex_lb.kit.clock import Clock

ROWS_AT_ONCE = 50  # a transaction of some ten milliseconds: the ledger's commits wait no longer for it
BETWEEN_BATCHES_S = 0.02  # a pool of a thousand accounts takes a second, and leaves room for everything else
RETIRED_AFTER_S = 60.0  # longer than anybody takes between sealing something and its commit
LOOK_AGAIN_S = 5.0

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class KeyState(StrEnum):
    """What becomes of a key."""

    PRESENT = "present"
    OLDER = "older"
    RETIRING = "retiring"
    RETIRED = "retired"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key as people see it."""

    fingerprint: Fingerprint
    state: KeyState
    sealed: int


class RotateKeys:
    """The verbs start and list, and the work that follows from start."""

    def __init__(
        self,
        pool: Pool,
        store: Store,
        vault: Vault,
        keys: Keys,
        clock: Clock,
        *,
        rows_at_once: int = ROWS_AT_ONCE,
        retired_after_s: float = RETIRED_AFTER_S,
        between_batches_s: float = BETWEEN_BATCHES_S,
    ) -> None:
        self._pool = pool
        self._store = store
        self._vault = vault
        self._keys = keys
        self._clock = clock
        self._rows_at_once = rows_at_once
        self._retired_after = timedelta(seconds=retired_after_s)
        self._between_batches_s = between_batches_s
        self._has_begun = asyncio.Event()
        self.problem = ""  # what keeps a rotation from ending, in a sentence

    async def start(self) -> Sequence[KeyView]:
        """A new key seals from now on. Raises KeyRotationRefusedError; then the old one still does."""
        key_id = self._keys.draft()
        now = self._clock.now()
        async with self._store.begin(writing=True) as unit:
            known = await unit.fingerprints.all()
            if under_way := self._retiring(known):
                raise KeyRotationRefusedError(
                    f"A rotation is under way: key {under_way[0].key_id} is being retired."
                    " `codex-lb admin keys list` shows how far it is."
                )
            await unit.fingerprints.save([key_id], added_at=now)
            await unit.fingerprints.begin_retiring([k.key_id for k in known if k.retired_at is None], at=now)
        try:
            await self._keys.adopt(key_id)
        except KeyFileError as error:
            async with self._store.begin(writing=True) as unit:
                await unit.fingerprints.forget([key_id])
                await unit.fingerprints.keep([k.key_id for k in known if not k.is_retiring])
            raise KeyRotationRefusedError(f"{error} The key was not rotated.") from error
        log.info("encryption key added", key=key_id)
        self._has_begun.set()
        return await self.list()

    async def list(self) -> Sequence[KeyView]:
        """Every key there ever was, the newest first."""
        async with self._store.begin(writing=False) as unit:
            known = await unit.fingerprints.all()
            counts = await unit.sealed_rows.count_by_key()
        unknown = [Fingerprint(key_id) for key_id in counts if key_id not in {k.key_id for k in known}]
        views = [KeyView(k, self._state(k, counts), counts.get(k.key_id, 0)) for k in [*known, *unknown]]
        return sorted(views, key=self._position)

    async def run(self) -> None:
        """Goes on with what a start began, this one or one of an earlier life."""
        while True:
            try:
                is_done = await self.work()
            except ControlError as error:
                log.warning("the rotation of the encryption key waits", why=str(error))
                is_done = False
            self._has_begun.clear()
            with anyio.move_on_after(None if is_done else LOOK_AGAIN_S):
                await self._has_begun.wait()

    async def work(self) -> bool:
        """Does all that can be done now; whether nothing is left for later. Raises StoreUnavailableError."""
        async with self._store.begin(writing=False) as unit:
            retiring = self._retiring(await unit.fingerprints.all())
        if not retiring:
            self.problem = ""
            return True
        unreadable = await self._seal_anew([key.key_id for key in retiring])
        is_done, problem = await self._retire()
        self._tell(problem or (_not_opening(unreadable) if unreadable else ""))
        return is_done

    async def _seal_anew(self, key_ids: Collection[str]) -> int:
        """Everything these keys sealed; how much of it does not open."""
        row: SealedRow | None = None
        unreadable = 0
        while True:
            async with self._store.begin(writing=True) as unit:
                rows = await unit.sealed_rows.of_keys(key_ids, after=row, rows_max=self._rows_at_once)
                done: list[tuple[SealedRow, Sealed]] = []
                for row in rows:
                    try:
                        sealed = self._vault.seal_bytes(self._vault.open_bytes(row.sealed))
                    except CredentialUnreadableError:
                        unreadable += 1
                        continue
                    if await unit.sealed_rows.replace(row, sealed):
                        done.append((row, sealed))
            for replaced, sealed in done:
                self._pool.resealed(AccountId(replaced.row_id), replaced.sealed, sealed)
            if len(rows) < self._rows_at_once:
                return unreadable
            await anyio.sleep(self._between_batches_s)

    async def _retire(self) -> tuple[bool, str]:
        """Those that seal nothing and have been retiring for long enough; whether none is left, and why not."""
        now = self._clock.now()
        async with self._store.begin(writing=True) as unit:  # writers of rows sealed a moment ago come before or after
            retiring = self._retiring(await unit.fingerprints.all())
            counts = await unit.sealed_rows.count_by_key()
            ready = [key.key_id for key in retiring if not counts.get(key.key_id) and self._is_over(key, now)]
            if ready:
                try:
                    await self._keys.drop(ready)
                except KeyFileError as error:
                    return False, f"{error} Take the lines of the retiring keys out of it yourself."
                await unit.fingerprints.retire(ready, at=now)
        for key_id in ready:
            log.info("encryption key retired", key=key_id)
        return len(ready) == len(retiring), ""

    def _is_over(self, key: Fingerprint, now: datetime) -> bool:
        return key.retiring_at is not None and key.retiring_at + self._retired_after <= now

    def _retiring(self, known: Collection[Fingerprint]) -> Sequence[Fingerprint]:
        # The first key of the file seals, whatever a rotation that ended before its file was written says of it.
        return [key for key in known if key.is_retiring and key.key_id != self._keys.ids[0]]

    def _state(self, key: Fingerprint, counts: Mapping[str, int]) -> KeyState:
        if key.key_id == self._keys.ids[0]:
            return KeyState.PRESENT
        if key.key_id not in self._keys.ids and counts.get(key.key_id):
            return KeyState.MISSING
        if key.retired_at is not None:
            return KeyState.RETIRED
        return KeyState.RETIRING if key.is_retiring else KeyState.OLDER

    def _position(self, view: KeyView) -> tuple[int, float]:
        """Those in the file in its order, then the others, the newest first."""
        ids = list(self._keys.ids)
        key = view.fingerprint
        return (
            ids.index(key.key_id) if key.key_id in ids else len(ids),
            -key.added_at.timestamp() if key.added_at else 0.0,
        )

    def _tell(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.warning("an encryption key cannot be retired", why=problem)
        self.problem = problem


def _not_opening(rows: int) -> str:
    return (
        f"Stored secrets that do not open with any key: {rows}. Put back the key file that they were sealed with, or"
        " sign those accounts in again."
    )
