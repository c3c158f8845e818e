"""The key file: made once, for its owner alone, and never taken for something it is not."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from codex_lb.control.errors import KeyFileError
from codex_lb.control.vault.key_file import Key, create_keys, is_exposed, key_id_of, load_keys

NEW = b"bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmU="
OLD = b"b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2w="


def written(folder: Path, content: bytes, *, mode: int = 0o600) -> Path:
    """A key file with that content."""
    file = folder / "key"
    file.write_bytes(content)
    file.chmod(mode)
    return file


def test_a_file_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert load_keys(tmp_path / "key") is None


def test_a_created_key_is_found_again_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "key"

    created = create_keys(file)

    assert load_keys(file) == created
    assert len(created) == 1
    assert file.stat().st_mode & 0o777 == 0o600
    assert [left.name for left in file.parent.iterdir()] == ["key"]


def test_every_created_key_is_another(tmp_path: Path) -> None:
    assert create_keys(tmp_path / "a") != create_keys(tmp_path / "b")


def test_those_who_create_the_file_together_get_the_same_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    together = threading.Barrier(8)
    found: list[tuple[Key, ...]] = []

    def create() -> None:
        together.wait()
        found.append(create_keys(file))

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert set(found) == {load_keys(file)}


def test_keys_are_read_newest_first_with_comments_and_empty_lines(tmp_path: Path) -> None:
    file = written(tmp_path, b"# mine\r\n\n" + NEW + b"  # since May\n" + OLD)

    assert load_keys(file) == (Key(key_id_of(NEW), NEW), Key(key_id_of(OLD), OLD))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "holds no key"),
        (b"# only a comment\n", "holds no key"),
        (NEW + b"\nhush-hush\n", "Line 2"),
        (NEW[:-4] + b"\n", "Line 1"),
        ("schlüssel".encode(), "Line 1"),
        (b"#" * 100_000, "too large"),
    ],
)
def test_a_file_that_is_no_key_file_is_refused_without_quoting_it(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    with pytest.raises(KeyFileError, match=complaint) as caught:
        load_keys(written(tmp_path, content))

    assert "hush" not in str(caught.value)
    assert NEW.decode() not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o660])
def test_a_file_that_others_can_read_is_refused_and_the_cure_is_named(tmp_path: Path, mode: int) -> None:
    file = written(tmp_path, NEW, mode=mode)

    with pytest.raises(KeyFileError, match=f"chmod 600 {file}"):
        load_keys(file)


def test_a_file_of_another_owner_may_be_read_through_our_group_as_kubernetes_mounts_secrets() -> None:
    assert not is_exposed(0o440, is_ours=False)
    assert is_exposed(0o440, is_ours=True)
    assert is_exposed(0o444, is_ours=False)
    assert is_exposed(0o460, is_ours=False)


def test_a_folder_in_its_place_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be read"):
        load_keys(tmp_path)


def test_a_key_shows_its_id_and_not_itself(tmp_path: Path) -> None:
    [key] = create_keys(tmp_path / "key")

    assert key.key_id in repr(key)
    assert key.secret.decode() not in repr(key)
