"""Where a database is, who may read it, and what a wrong URL is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from codex_lb.control.errors import InvalidDatabaseUrlError, StoreUnavailableError
from codex_lb.control.store.database import open_database


@pytest.mark.parametrize(
    "url",
    [
        "mysql://root:hush@localhost/store",
        "postgresql://user:hush@localhost/store",
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///:memory:",
        "hush",
        "",
    ],
)
async def test_a_url_of_another_form_is_told_the_right_one_and_never_repeated(url: str) -> None:
    with pytest.raises(InvalidDatabaseUrlError, match=r"sqlite\+aiosqlite:///path") as caught:
        async with open_database(url):
            pytest.fail("it opened")

    assert "hush" not in str(caught.value)


async def test_a_home_folder_is_found_and_missing_folders_are_made_for_the_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    async with open_database("sqlite+aiosqlite:///~/deep/down/store.db") as store:
        await store.ping()

    file = tmp_path / "deep" / "down" / "store.db"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


async def test_a_server_that_is_not_there_does_not_keep_anybody_waiting(tmp_path: Path) -> None:
    async with open_database(f"postgresql+asyncpg:///store?host={tmp_path}&user=test&password=hush") as store:
        with pytest.raises(StoreUnavailableError) as caught:
            await store.ping()

    assert "hush" not in str(caught.value)


async def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("a shopping list, longer than the header of a database; eggs, milk, bread")

    async with open_database(f"sqlite+aiosqlite:///{tmp_path / 'store.db'}") as store:
        with pytest.raises(StoreUnavailableError, match="not a database"):
            await store.ping()


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailableError, match=str(tmp_path / "file")):
        async with open_database(f"sqlite+aiosqlite:///{tmp_path / 'file' / 'store.db'}"):
            pytest.fail("it opened")
