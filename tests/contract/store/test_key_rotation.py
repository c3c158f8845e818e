"""Rotating the encryption key: everything is sealed anew, whenever and wherever the process dies on the way."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

import pytest

from codex_lb.control.domain.account import Credential
from codex_lb.control.domain.enrolment import Flow, FlowMethod, FlowStage
from codex_lb.control.domain.ids import FlowId
from codex_lb.control.errors import KeyFileError, KeyRotationRefusedError, WrongKeyError
from codex_lb.control.store.database import Database, open_database
from codex_lb.control.store.repositories.sealed_rows import SEALED
from codex_lb.control.store.tables import metadata
from codex_lb.control.store.unit_of_work import SqlUnitOfWork
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.rotate_keys import KeyState, RotateKeys
from codex_lb.control.usecases.vault_ports import Keys, Sealed
from codex_lb.control.vault.cipher import FernetVault
from codex_lb.control.vault.fingerprint import open_vault
from codex_lb.control.vault.key_file import key_id_of, load_keys
from codex_lb.control.vault.key_ring import KeyRing
from tests.contract.store.examples import NOON, account
from tests.support.clock import FakeClock
from tests.support.databases import sqlite_url_of

NAMES = ("a", "b", "c", "d", "e")
GRACE_S = 60.0


class DiedError(BaseException):
    """The process is gone: nothing after this line was done."""


@dataclass
class Death:
    """Comes at the n-th dangerous moment; 0: never."""

    at: int = 0
    moments: int = 0

    def passes(self) -> None:
        """One dangerous moment."""
        self.moments += 1
        if self.moments == self.at:
            raise DiedError


@dataclass
class MortalStore:
    """The store, whose every writing transaction may die before and after its commit."""

    store: Database
    death: Death

    def begin(self, *, writing: bool) -> SqlUnitOfWork:
        """A transaction."""
        unit = self.store.begin(writing=writing)
        return MortalUnit(unit, self.death) if writing else unit  # type: ignore[return-value]


@dataclass
class MortalUnit:
    """A writing transaction."""

    unit: SqlUnitOfWork
    death: Death

    async def __aenter__(self) -> SqlUnitOfWork:
        return await self.unit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self.death.passes()
            except DiedError as died:
                await self.unit.__aexit__(DiedError, died, None)
                raise
        await self.unit.__aexit__(kind, error, trace)
        self.death.passes()


@dataclass
class MortalKeys:
    """The key file, every change of which may die before and after it."""

    keys: Keys
    death: Death

    @property
    def ids(self) -> Sequence[str]:
        """Of the file."""
        return self.keys.ids

    def draft(self) -> str:
        """A new key."""
        return self.keys.draft()

    async def adopt(self, key_id: str) -> None:
        """Into the file."""
        self.death.passes()
        await self.keys.adopt(key_id)
        self.death.passes()

    async def drop(self, key_ids: Collection[str]) -> None:
        """Out of the file."""
        self.death.passes()
        await self.keys.drop(key_ids)
        self.death.passes()


@dataclass
class Life:
    """Control between a start and its end."""

    store: Database
    vault: FernetVault
    pool: Pool
    rotate: RotateKeys
    death: Death = field(default_factory=Death)


async def live(store: Database, file: Path, clock: FakeClock, *, death: Death | None = None) -> Life:
    """A start."""
    death = death or Death()
    vault = await open_vault(file, store)
    pool = Pool(vault)
    await pool.load(store)
    rotate = RotateKeys(
        pool,
        MortalStore(store, death),
        vault,
        MortalKeys(KeyRing(file, vault), death),
        clock,
        rows_at_once=4,
        retired_after_s=GRACE_S,
        between_batches_s=0,
    )
    return Life(store, vault, pool, rotate, death)


async def fill(life: Life) -> None:
    """Accounts with logins, and a sign-in under way."""
    async with life.store.begin(writing=True) as unit:
        for name in NAMES:
            credential = Credential(f"access-{name}", f"refresh-{name}", f"id-{name}", None)
            await unit.accounts.add(account(name), life.vault.seal(credential, generation=1))
        flow = Flow(FlowId("f"), FlowMethod.BROWSER, FlowStage.PENDING, None, "digest", NOON, NOON.replace(year=2030))
        await unit.flows.add(flow, life.vault.seal_bytes(b"verifier"))
    await life.pool.load(life.store)


async def opens(life: Life) -> bool:
    """Whether everything stored is what it was."""
    async with life.store.begin(writing=False) as unit:
        logins = [life.vault.open(sealed).refresh_token for _, sealed in await unit.accounts.all()]
        flow = await unit.flows.get(FlowId("f"))
    assert flow is not None
    in_memory = [life.vault.open(member.sealed).refresh_token for member in life.pool.members()]
    wanted = [f"refresh-{name}" for name in NAMES]
    return logins == in_memory == wanted and life.vault.open_bytes(flow[1]) == b"verifier"


async def states(life: Life) -> dict[str, tuple[KeyState, int]]:
    """Every key, what becomes of it, and how much it seals."""
    return {v.fingerprint.key_id: (v.state, v.sealed) for v in await life.rotate.list()}


def ids_in(file: Path) -> list[str]:
    """The keys of the file."""
    return [key.key_id for key in load_keys(file) or ()]


def test_every_table_with_a_ciphertext_takes_part() -> None:
    sealed = {t.name for t in metadata.tables.values() if {"key_id", "ciphertext"} <= set(t.columns.keys())}

    assert set(SEALED) == sealed
    assert [len(table.primary_key.columns) for table in SEALED.values()] == [1] * len(SEALED)


async def test_a_rotation_seals_everything_anew_and_then_retires_the_old_key(store: Database, tmp_path: Path) -> None:
    clock, file = FakeClock(), tmp_path / "key"
    life = await live(store, file, clock)
    await fill(life)
    [old] = ids_in(file)

    await life.rotate.start()
    [new, _] = ids_in(file)
    begun = await states(life)
    is_done_at_once = await life.rotate.work()
    waiting = await states(life)
    clock.advance(GRACE_S)
    is_done = await life.rotate.work()

    assert begun == {new: (KeyState.PRESENT, 0), old: (KeyState.RETIRING, 6)}
    assert waiting == {new: (KeyState.PRESENT, 6), old: (KeyState.RETIRING, 0)}
    assert await states(life) == {new: (KeyState.PRESENT, 6), old: (KeyState.RETIRED, 0)}
    assert (is_done_at_once, is_done, ids_in(file)) == (False, True, [new])
    assert file.stat().st_mode & 0o777 == 0o600
    assert await opens(life)
    assert await opens(await live(store, file, clock))


async def test_a_second_rotation_waits_for_the_first(store: Database, tmp_path: Path) -> None:
    clock, file = FakeClock(), tmp_path / "key"
    life = await live(store, file, clock)
    await life.rotate.start()

    with pytest.raises(KeyRotationRefusedError, match="A rotation is under way"):
        await life.rotate.start()
    clock.advance(GRACE_S)
    await life.rotate.work()
    await life.rotate.start()

    assert len(ids_in(file)) == 2


DEATHS = range(1, 20)  # more moments than a rotation of this size has; a test sees to it


@pytest.mark.parametrize("at", DEATHS)
async def test_a_death_at_any_moment_costs_nothing_and_the_next_start_goes_on(
    store: Database, tmp_path: Path, at: int
) -> None:
    clock, file, death = FakeClock(), tmp_path / "key", Death(at)
    await fill(await live(store, file, clock))
    [old] = ids_in(file)

    dying = await live(store, file, clock, death=death)
    with suppress(DiedError):
        await dying.rotate.start()
        await dying.rotate.work()
        clock.advance(GRACE_S)
        await dying.rotate.work()
    again = await live(store, file, clock)
    assert await opens(again)
    clock.advance(GRACE_S)
    await again.rotate.work()

    assert await opens(again)
    assert await opens(await live(store, file, clock))
    has_begun = ids_in(file) != [old]
    seals = {key_id: rows for key_id, (_, rows) in (await states(again)).items() if rows}
    assert seals == {ids_in(file)[0]: 6}
    assert len(ids_in(file)) == 1
    assert old not in ids_in(file) or not has_begun
    if at == DEATHS[-1]:
        assert death.moments < at  # the rotation ended before this death came: all moments were tried


async def test_an_old_backup_still_opens_with_its_old_key_file(sqlite_url: str, tmp_path: Path) -> None:
    clock, file = FakeClock(), tmp_path / "key"
    async with open_database(sqlite_url) as store:
        await fill(await live(store, file, clock))
    copy_of(tmp_path / "store.db", tmp_path / "backup.db")
    copy_of(file, tmp_path / "old-key")

    async with open_database(sqlite_url) as store:
        life = await live(store, file, clock)
        await life.rotate.start()
        clock.advance(GRACE_S)
        await life.rotate.work()

        async with open_database(sqlite_url_of(tmp_path / "backup.db")) as backup:
            assert await opens(await live(backup, tmp_path / "old-key", clock))
            with pytest.raises(WrongKeyError):
                await open_vault(file, backup)
        with pytest.raises(WrongKeyError):
            await open_vault(tmp_path / "old-key", store)  # a stale copy must not seal anything again


async def test_a_key_file_that_cannot_be_changed_refuses_the_rotation_and_the_old_key_stays(
    store: Database, tmp_path: Path
) -> None:
    clock, file = FakeClock(), tmp_path / "key"
    life = await live(store, file, clock)
    await fill(life)
    [old] = ids_in(file)
    refusing = RotateKeys(life.pool, store, life.vault, ReadOnlyKeys(KeyRing(file, life.vault), Death()), clock)

    with pytest.raises(KeyRotationRefusedError, match=r"read-only.*The key was not rotated"):
        await refusing.start()

    assert await states(life) == {old: (KeyState.PRESENT, 6)}
    assert life.vault.seal_bytes(b"x").key_id == old
    await life.rotate.start()


class ReadOnlyKeys(MortalKeys):
    """A key file on a volume that cannot be written."""

    async def adopt(self, key_id: str) -> None:  # noqa: ARG002
        """Fails."""
        raise KeyFileError("The key file cannot be changed: it is read-only.")


async def test_a_login_that_comes_during_a_rotation_is_sealed_with_the_new_key(store: Database, tmp_path: Path) -> None:
    clock, file = FakeClock(), tmp_path / "key"
    life = await live(store, file, clock)
    await fill(life)
    await life.rotate.start()

    async with store.begin(writing=True) as unit:
        newer = life.vault.seal(Credential("access", "refresh-a", "id", None), generation=2)
        assert await unit.accounts.replace_credential(replace(account("a"), generation=2), newer)
    await life.rotate.work()

    assert sorted((await states(life)).values()) == [(KeyState.PRESENT, 6), (KeyState.RETIRING, 0)]


async def test_a_secret_that_does_not_open_keeps_its_key_and_is_told(store: Database, tmp_path: Path) -> None:
    clock, file = FakeClock(), tmp_path / "key"
    life = await live(store, file, clock)
    await fill(life)
    [old] = ids_in(file)
    async with store.begin(writing=True) as unit:
        [row, *_] = await unit.sealed_rows.of_keys([old], after=None, rows_max=1)
        await unit.sealed_rows.replace(row, Sealed(old, b"damaged"))

    await life.rotate.start()
    clock.advance(GRACE_S)
    is_done = await life.rotate.work()

    assert (is_done, (await states(life))[old]) == (False, (KeyState.RETIRING, 1))
    assert life.rotate.problem.startswith("Stored secrets that do not open with any key: 1.")
    assert old in ids_in(file)


async def test_what_else_stands_in_the_key_file_stays(store: Database, tmp_path: Path) -> None:
    clock, file = FakeClock(), tmp_path / "key"
    life = await live(store, file, clock)
    remark(file)

    await life.rotate.start()
    clock.advance(GRACE_S)
    await life.rotate.work()

    lines = lines_of(file)
    assert lines[0] == b"# ours since May"
    assert [key_id_of(line) for line in lines if not line.startswith(b"#")] == ids_in(file)


async def test_another_replica_finds_the_key_that_this_one_added(store: Database, tmp_path: Path) -> None:
    clock, file = FakeClock(), tmp_path / "key"
    life = await live(store, file, clock)
    await fill(life)
    other = await live(store, file, clock)

    await life.rotate.start()
    await life.rotate.work()

    assert await opens(replace_pool(other, await reloaded(other)))


async def reloaded(life: Life) -> Pool:
    """What the database says now, with the vault of that life."""
    pool = Pool(life.vault)
    await pool.load(life.store)
    return pool


def replace_pool(life: Life, pool: Pool) -> Life:
    """The same life with another memory."""
    return replace(life, pool=pool)


def copy_of(file: Path, to: Path) -> None:
    """As a careful operator makes one."""
    shutil.copy(file, to)


def remark(file: Path) -> None:
    """Puts a comment first."""
    file.write_bytes(b"# ours since May\n" + file.read_bytes())


def lines_of(file: Path) -> list[bytes]:
    """Its lines."""
    return file.read_bytes().splitlines()
