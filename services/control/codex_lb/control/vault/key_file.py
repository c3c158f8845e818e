"""The file that holds the encryption keys: one per line, newest first, `#` begins a comment."""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from codex_lb.control.errors import KeyFileError

KEY_BYTES = 32
FILE_BYTES_MAX = 64 * 2**10  # a thousand keys; more is some other file

_TEMPLATE = """\
# The encryption key of codex-lb. Keep a copy in a safe place: no stored login can be opened without it.
# One key per line, the newest first; older ones open what they sealed.
{key}
"""


@dataclass(frozen=True, slots=True)
class Key:
    """One Fernet key. Its id may be shown, the key never."""

    key_id: str
    secret: bytes = field(repr=False)


def load_keys(file: Path) -> tuple[Key, ...] | None:
    """The keys of the file, newest first; None when there is no such file. Raises KeyFileError."""
    content = _read(file)
    return None if content is None else _keys_in(file, content)


def create_keys(file: Path) -> tuple[Key, ...]:
    """A new key in a new file that only its owner can read; the keys of whoever was faster. Raises KeyFileError."""
    content = _TEMPLATE.format(key=new_key().secret.decode())
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(unfinished, content.encode())
        try:
            # A link fails when the name is taken, and shows the file only when it is complete.
            file.hardlink_to(unfinished)
        except FileExistsError:
            pass
        finally:
            unfinished.unlink()
    except OSError as error:
        raise KeyFileError(f"The key file {file} cannot be created: {error.strerror}.") from error
    keys = load_keys(file)
    if keys is None:
        raise KeyFileError(f"The key file {file} vanished while it was created.")
    return keys


def new_key() -> Key:
    """A key that is nowhere yet."""
    secret = base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES))
    return Key(key_id_of(secret), secret)


def add_key(file: Path, key: Key) -> tuple[Key, ...]:
    """Puts the key before the others; every other line stays. The keys of the file then. Raises KeyFileError."""
    content = _present(file)
    lines = content.splitlines(keepends=True)
    first = next(index for index, line in enumerate(lines) if _without_comment(line))
    if key.key_id not in {known.key_id for known in _keys_in(file, content)}:
        _replace(file, b"".join([*lines[:first], key.secret + b"\n", *lines[first:]]))
    return _keys_in(file, _present(file))


def remove_keys(file: Path, key_ids: Collection[str]) -> tuple[Key, ...]:
    """Takes the lines of these keys out; every other line stays. The keys of the file then. Raises KeyFileError."""
    content = _present(file)
    lines = content.splitlines(keepends=True)
    kept = [line for line in lines if key_id_of(_without_comment(line)) not in key_ids]
    if len(kept) < len(lines):
        _keys_in(file, b"".join(kept))  # raises before the last key is gone
        _replace(file, b"".join(kept))
    return _keys_in(file, _present(file))


def key_id_of(secret: bytes) -> str:
    """Tells keys apart without saying anything about them."""
    return hashlib.sha256(secret).hexdigest()[:12]


def is_exposed(mode: int, *, is_ours: bool) -> bool:
    """Others must not read it. Our group may if the file is not ours: that is how Kubernetes hands out secrets."""
    return bool(mode & (stat.S_IRWXO | (stat.S_IRWXG if is_ours else stat.S_IWGRP)))


def _read(file: Path) -> bytes | None:
    try:
        with file.open("rb") as opened:
            _refuse_exposed(file, os.fstat(opened.fileno()))
            content = opened.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyFileError(f"The key file {file} cannot be read: {error.strerror}.") from error
    if len(content) > FILE_BYTES_MAX:
        raise KeyFileError(f"The key file {file} is too large to be one. Is the path right?")
    return content


def _present(file: Path) -> bytes:
    content = _read(file)
    if content is None:
        raise KeyFileError(f"The key file {file} is missing. Put it back from your copy.")
    return content


def _keys_in(file: Path, content: bytes) -> tuple[Key, ...]:
    lines = [_without_comment(line) for line in content.splitlines()]
    keys = tuple(_key_of(file, number, line) for number, line in enumerate(lines, start=1) if line)
    if not keys:
        raise KeyFileError(f"The key file {file} holds no key. Put back its content from your copy.")
    return keys


def _without_comment(line: bytes) -> bytes:
    return line.split(b"#", 1)[0].strip()


def _replace(file: Path, content: bytes) -> None:
    """The file has either its old content or the new one, whatever happens meanwhile, and then the disk has it too."""
    target = file.resolve()  # a link stays a link
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        try:
            _write(unfinished, content)
            unfinished.replace(target)
        except OSError:
            with suppress(OSError):
                unfinished.unlink()
            raise
        _sync_folder(target.parent)
    except OSError as error:
        why = {errno.EROFS: "it is read-only", errno.EBUSY: "it is mounted as a single file"}
        raise KeyFileError(
            f"The key file {file} cannot be changed: {why.get(error.errno or 0, error.strerror)}."
        ) from error


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(file: Path, content: bytes) -> None:
    descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(descriptor)  # the credentials sealed with it must not survive a power cut that the key did not


def _key_of(file: Path, number: int, line: bytes) -> Key:
    try:
        is_key = len(base64.b64decode(line, altchars=b"-_", validate=True)) == KEY_BYTES
    except binascii.Error:
        is_key = False
    if not is_key:
        raise KeyFileError(f"Line {number} of the key file {file} is no key: 32 bytes in URL-safe base64 are expected.")
    return Key(key_id_of(line), line)


def _refuse_exposed(file: Path, status: os.stat_result) -> None:
    if os.name == "posix" and is_exposed(status.st_mode, is_ours=status.st_uid == os.geteuid()):
        raise KeyFileError(
            f"The key file {file} can be read by others (its mode is {stat.S_IMODE(status.st_mode):04o})."
            f" Make it yours alone: chmod 600 {file}"
        )
