"""The data folder on a real disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from codex_lb.allinone import data_dir
from codex_lb.allinone.data_dir import DataDirError, claimed, owner_of


def test_a_claim_creates_the_folder_for_its_owner_only_and_names_the_process(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"

    with claimed(folder):
        owner = owner_of(folder)

    assert owner == str(os.getpid())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_claimed_folder_is_refused_until_the_claim_ends(tmp_path: Path) -> None:
    with (
        claimed(tmp_path),
        pytest.raises(DataDirError, match=rf"in use by codex-lb with process id {os.getpid()}\."),
        claimed(tmp_path),
    ):
        pass

    with claimed(tmp_path):
        assert owner_of(tmp_path)
    assert owner_of(tmp_path) == ""


def test_nobody_owns_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert owner_of(tmp_path / "nowhere") == ""


def test_a_short_folder_that_is_open_to_others_is_refused(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.mkdir(mode=0o755)

    with pytest.raises(DataDirError, match="is open to others"):
        data_dir.make_private(short)


def test_a_short_folder_of_our_own_is_used_again(tmp_path: Path) -> None:
    short = tmp_path / "short"

    data_dir.make_private(short)
    data_dir.make_private(short)

    assert stat.S_IMODE(short.stat().st_mode) == 0o700
