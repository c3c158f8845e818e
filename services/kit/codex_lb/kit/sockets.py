"""Addresses to listen on: taking them, and saying in words why one cannot be taken."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

PROBE_WITHIN_S = 1.0  # a listener on this machine answers at once


class PortTakenError(Exception):
    """The address cannot be listened on. The text tells a person what to do."""


def bind_tcp(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A bound socket, not listening yet; port 0 lets the system choose. Raises PortTakenError.

    `reuse_port` lets several processes of ours share the port; the kernel then spreads the connections.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise PortTakenError(f"Cannot listen on {host}: it is not an address of this machine ({error})") from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart must not wait for old connections
        if reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise PortTakenError(_sentence(host, port, error)) from error
    bound.setblocking(False)
    return bound


def bind_unix(path: Path) -> socket.socket:
    """A bound socket, not listening yet, that only our own user can connect to. Raises PortTakenError."""
    clear_unix_path(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with files_for_our_user_only():
            bound.bind(str(path))
    except OSError as error:
        bound.close()
        raise PortTakenError(f"Cannot listen on {path}: {error.strerror or error}.") from error
    bound.setblocking(False)
    return bound


@contextmanager
def files_for_our_user_only() -> Iterator[None]:
    """Sockets made inside get mode 0600 at birth; a chmod afterwards would leave a moment for others."""
    previous = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(previous)


def clear_unix_path(path: Path) -> None:
    """Makes way for a new unix socket: removes what a dead process left.

    Raises PortTakenError if somebody still listens there, or if the path is something other than a socket.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise PortTakenError(f"Cannot listen on {path}: a file stands there that is not a socket. Move it away.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_WITHIN_S)
        if probe.connect_ex(str(path)) == 0:
            raise PortTakenError(f"Cannot listen on {path}: another codex-lb is running. Stop it first.")
    path.unlink(missing_ok=True)


def url_of(host: str, port: int) -> str:
    """An address that works in a browser on this machine."""
    try:
        address = ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified:
        return f"http://127.0.0.1:{port}"
    return f"http://[{host}]:{port}" if address.version == 6 else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host; an unknown name is taken for a public one."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _sentence(host: str, port: int, error: OSError) -> str:
    where = f"Cannot listen on {host}:{port}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{where}: another program uses the port. Stop that program, or configure another port."
        case errno.EACCES:
            return f"{where}: ports below 1024 need special rights. Configure a higher port."
        case errno.EADDRNOTAVAIL:
            return f"{where}: {host} is not an address of this machine. Use 127.0.0.1 or 0.0.0.0."
        case _:
            return f"{where}: {error.strerror or error}."
