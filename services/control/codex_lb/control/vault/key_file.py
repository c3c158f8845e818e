"""The file that holds the encryption keys: one per line, newest first, `#` begins a comment."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
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
    lines = [line.split(b"#", 1)[0].strip() for line in content.splitlines()]
    keys = tuple(_key_of(file, number, line) for number, line in enumerate(lines, start=1) if line)
    if not keys:
        raise KeyFileError(f"The key file {file} holds no key. Put back its content from your copy.")
    return keys


def create_keys(file: Path) -> tuple[Key, ...]:
    """A new key in a new file that only its owner can read; the keys of whoever was faster. Raises KeyFileError."""
    content = _TEMPLATE.format(key=base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode())
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


def key_id_of(secret: bytes) -> str:
    """Tells keys apart without saying anything about them."""
    return hashlib.sha256(secret).hexdigest()[:12]


def is_exposed(mode: int, *, is_ours: bool) -> bool:
    """Others must not read it. Our group may if the file is not ours: that is how Kubernetes hands out secrets."""
    return bool(mode & (stat.S_IRWXO | (stat.S_IRWXG if is_ours else stat.S_IWGRP)))


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
